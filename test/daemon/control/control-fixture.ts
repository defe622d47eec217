import { pino } from 'pino';
import { z } from 'zod';
import { controlCommand, failed, ok } from '../../../src/daemon/control/control-command.ts';
import type { ControlCommand, ControlContext, ControlResult } from '../../../src/daemon/control/control-command.ts';
import type { ControlLimits } from '../../../src/daemon/control/control-limits.ts';
import { ControlServer } from '../../../src/daemon/control/control-server.ts';
import type { ByteStream } from '../../../src/transport/byte-stream.ts';
import { memoryPair } from '../../../src/transport/memory.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** A moment that a test waits for, and brings about. */
export interface Moment<T = void> {
  readonly promise: Promise<T>;
  readonly come: (value: T) => void;
}

/** Makes a moment that has not come. */
export function moment<T = void>(): Moment<T> {
  let come: (value: T) => void = () => undefined;
  const promise = new Promise<T>((resolve) => (come = resolve));
  return { promise, come };
}

/** A command without options, for a test. */
export function plainCommand(run: (context: ControlContext) => Promise<ControlResult>): ControlCommand {
  return controlCommand({ schema: z.strictObject({}), short: () => '', run: (_opts, context) => run(context) });
}

const echo = controlCommand({
  schema: z.strictObject({
    text: z.string(),
    times: z.int().min(0).max(1000).default(0),
    password: z.string().optional(),
  }),
  short: ({ text }) => text,
  async run({ text, times }, { progress }) {
    for (let time = 0; time < times; time++) await progress({ time });
    return ok({ text });
  },
});

const refuse = plainCommand(() => Promise.resolve(failed('BUSY', 'not now')));

/** A server with `echo`, `refuse` and what a test adds. */
export function serverFixture({
  commands = {},
  limits = {},
}: { commands?: Record<string, ControlCommand>; limits?: Partial<ControlLimits> } = {}) {
  const clock = new FakeClock();
  const log: Record<string, unknown>[] = [];
  const sink = { write: (line: string) => void log.push(JSON.parse(line) as Record<string, unknown>) };
  const logger = pino({ level: 'debug' }, sink);
  const all = new Map(Object.entries({ echo, refuse, ...commands }));
  const server = new ControlServer({ version: '1.2.3', commands: all, limits, logger, clock });
  return { server, clock, log };
}

/** A client that is nothing but bytes. */
export class RawClient {
  readonly stream: ByteStream;
  readonly #pieces: AsyncIterator<Uint8Array>;
  #text = '';

  constructor(stream: ByteStream) {
    this.stream = stream;
    this.#pieces = stream.source[Symbol.asyncIterator]();
  }

  /** Connected to a server inside this process. `served` resolves when the server has released the connection. */
  static of(server: ControlServer, { bufferBytesMax = 64 * 1024 } = {}): { client: RawClient; served: Promise<void> } {
    const [near, far] = memoryPair({ bufferBytesMax, poison: true });
    return { client: new RawClient(near), served: server.serve(far) };
  }

  send(text: string): Promise<void> {
    return this.stream.write(Buffer.from(text));
  }

  /** The next line as a value; undefined at the end. */
  async line(): Promise<unknown> {
    for (;;) {
      const end = this.#text.indexOf('\n');
      if (end !== -1) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return JSON.parse(line) as unknown;
      }
      const next = await this.#pieces.next();
      if (next.done === true) {
        if (this.#text !== '') throw new Error(`half a line: ${this.#text}`);
        return undefined;
      }
      this.#text += Buffer.from(next.value).toString('latin1');
    }
  }

  /** All lines until the end. */
  async lines(): Promise<unknown[]> {
    const all: unknown[] = [];
    for (let line = await this.line(); line !== undefined; line = await this.line()) all.push(line);
    return all;
  }
}

/** What the server says first. */
export const greeting = { version: '1.2.3' };
