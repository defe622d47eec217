import type { Logger as PinoLogger } from 'pino';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { Clock } from '../../jobs/clock.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import { escapeText } from '../../rpc/request-log.ts';
import type { ByteStream } from '../../transport/byte-stream.ts';
import type { AdmittedCommand, ControlCommands } from './control-command.ts';
import type { ControlLimits } from './control-limits.ts';
import { buildError, buildGreeting, buildInternalError, parseCall } from './control-message.ts';
import { ControlTimeoutError, within } from './control-timeout.ts';
import { LineReader } from './line-reader.ts';
import type { ReadLine } from './line-reader.ts';
import { logCall } from './log-form.ts';
import { RunningCommand } from './running-command.ts';

/** What a {@link ControlSession} is made of. */
export interface ControlSessionOptions {
  readonly id: number;
  readonly version: string;
  readonly commands: ControlCommands;
  readonly limits: ControlLimits;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Why this client is not served: all it is told after the greeting. Null: it is served. */
  readonly refusal: SnapferryError | null;
}

/** How long the end of a connection waits for the client's end, in ms. */
const lingerMs = 1000;
const toldCharactersMax = 2000;

/** The server's side of one client: greets, then answers one command after the other. */
export class ControlSession {
  readonly id: number;
  readonly sinceMs: number;
  readonly logger: Logger;
  readonly #stream: ByteStream;
  readonly #options: ControlSessionOptions;
  readonly #reader: LineReader;
  #writes: Promise<void> = Promise.resolve();
  #running: RunningCommand | null = null;
  #isLeaving = false;
  #graceMs = Infinity;
  #interruptWait: (error: SnapferryError) => void = () => undefined;
  #lost: SnapferryError | null = null;

  constructor(stream: ByteStream, options: ControlSessionOptions) {
    const logger = options.logger as Logger & Partial<Pick<PinoLogger, 'child'>>;
    this.id = options.id;
    this.sinceMs = options.clock.nowMs();
    this.logger = logger.child?.({ client: options.id }) ?? options.logger;
    this.#stream = stream;
    this.#options = options;
    this.#reader = new LineReader(stream.source);
  }

  /** Name of the command that is being carried out; null: none. */
  get cmd(): string | null {
    return this.#running?.cmd ?? null;
  }

  /**
   * Asks the client to leave: at once if it waits, else when its command has ended. After `graceMs` the command's signal is aborted;
   * that of a command which took over the connection at once. Called again, it can only get shorter.
   */
  requestStop(graceMs: number): void {
    this.#isLeaving = true;
    this.#graceMs = Math.min(this.#graceMs, graceMs);
    this.#interruptWait(leaving());
    this.#running?.stopWithin(this.#graceMs, leaving());
  }

  /** Serves the client until it or we leave, and owns the stream. Never rejects: what ends a connection is logged. */
  async run(): Promise<void> {
    try {
      await this.#send(buildGreeting(this.#options.version));
      if (this.#options.refusal !== null) throw this.#options.refusal;
      while (await this.#serveNext());
      await this.#close();
    } catch (cause) {
      await this.#end(toSnapferryError(cause));
    }
  }

  /**
   * Sends a line after all sent before; resolves when more can be sent. Once a line could not be sent the connection is dropped, and
   * the command told so by its signal. The rejection need not be caught.
   */
  #send(line: Uint8Array): Promise<void> {
    const sent = this.#writes.then(async () => {
      if (this.#lost !== null) throw this.#lost;
      const { sendMsMax } = this.#options.limits;
      const late = () => new ControlTimeoutError('send', `the client took nothing of its answer for ${sendMsMax} ms`);
      await within(this.#options.clock, sendMsMax, this.#stream.write(line), late);
    });
    this.#writes = sent.catch((error: unknown) => this.#lose(toSnapferryError(error)));
    return sent;
  }

  /** The client cannot be reached any more. */
  #lose(error: SnapferryError): void {
    if (this.#lost !== null) return;
    this.#lost = error;
    this.#stream.abort(error);
    this.#running?.abort(error);
  }

  /** Whether there may be a next command. */
  async #serveNext(): Promise<boolean> {
    const found = await this.#nextLine();
    if (found.kind === 'end') return false;
    if (found.kind === 'line') return this.#answer(found.line);
    const { commandBytesMax } = this.#options.limits;
    if (found.kind === 'cut') await this.#refuse('INVALID_REQUEST', 'the connection ended inside a command');
    else await this.#refuse('LIMIT_EXCEEDED', `a command may have ${commandBytesMax} bytes, and this one has more`);
    return true;
  }

  async #nextLine(): Promise<ReadLine> {
    const { idleMsMax, receiveMsMax, commandBytesMax } = this.#options.limits;
    const idle = () => new ControlTimeoutError('idle', `no command came for ${idleMsMax} ms`);
    const late = () => new ControlTimeoutError('receive', `a command did not arrive whole within ${receiveMsMax} ms`);
    if (!(await this.#wait(idleMsMax, this.#reader.fill(), idle))) return { kind: 'end' };
    return this.#wait(receiveMsMax, this.#reader.line(commandBytesMax), late);
  }

  /** Waits for the client, until it is told to leave. */
  async #wait<T>(limitMs: number, work: Promise<T>, onLate: () => Error): Promise<T> {
    const interrupted = new Promise<never>((_, reject) => (this.#interruptWait = reject));
    if (this.#isLeaving) this.#interruptWait(leaving());
    try {
      return await within(this.#options.clock, limitMs, Promise.race([interrupted, work]), onLate);
    } finally {
      this.#interruptWait = () => undefined;
    }
  }

  /** False when the connection has gone over to another protocol, which is over, too. */
  async #answer(line: Uint8Array): Promise<boolean> {
    let call;
    try {
      call = parseCall(line);
    } catch (error) {
      await this.#refuse('INVALID_REQUEST', toSnapferryError(error).message);
      return true;
    }
    const command = this.#options.commands.get(call.cmd);
    if (command === undefined) {
      const known = [...this.#options.commands.keys()].join(', ');
      await this.#refuse('UNKNOWN_REQUEST', `there is no command ${call.cmd}; there are: ${known}`);
      return true;
    }
    const admitted = this.#admit(call.cmd, () => command.admit(call.opts));
    if (admitted === null) {
      await this.#send(buildInternalError());
      return true;
    }
    if (typeof admitted === 'string') {
      await this.#refuse('INVALID_REQUEST', `${call.cmd} cannot have these options: ${admitted}`);
      return true;
    }
    logCall(this.logger, call, admitted.short);
    return this.#carryOut(call.cmd, admitted);
  }

  /** Null: the check itself failed. */
  #admit(cmd: string, check: () => AdmittedCommand | string): AdmittedCommand | string | null {
    try {
      return check();
    } catch (error) {
      this.logger.error({ err: error, cmd }, `${cmd}: its options could not be checked`);
      return null;
    }
  }

  async #carryOut(cmd: string, admitted: AdmittedCommand): Promise<boolean> {
    const { clock, limits } = this.#options;
    const { id, sinceMs, logger } = this;
    const running = new RunningCommand(cmd, {
      ...{ id, sinceMs, logger, clock, limits },
      stream: this.#stream,
      reader: this.#reader,
      send: (line) => this.#send(line),
      lose: (error) => this.#lose(error),
    });
    this.#running = running;
    try {
      return await running.run(admitted);
    } finally {
      this.#running = null;
    }
  }

  async #refuse(code: string, message: string): Promise<void> {
    const told = message.length > toldCharactersMax ? `${message.slice(0, toldCharactersMax)}…` : message;
    this.logger.info({ code }, `refused: ${escapeText(told)}`);
    await this.#send(buildError(told, code));
  }

  /** Tells the client why it ends, where it can still be told. */
  async #end(error: SnapferryError): Promise<void> {
    const isTellable = ['GOODBYE', 'BUSY'].includes(error.code) || error instanceof ControlTimeoutError;
    if (this.#lost === null && isTellable) {
      await this.#send(buildError(error.message, error.code)).catch(() => undefined);
    } else {
      this.#lose(error);
    }
    // That a client leaves is its right, in the middle of its answer, too.
    const isLeft = error.code === 'CONNECTION_LOST' || error.code === 'GOODBYE';
    this.logger[isLeft ? 'debug' : 'info']({ code: error.code }, `disconnected: ${escapeText(error.message)}`);
    await this.#close();
  }

  async #close(): Promise<void> {
    const late = () => new SnapferryError('CONNECTION_LOST', 'the client did not end its side');
    try {
      await within(this.#options.clock, lingerMs, this.#stream.close(), late);
    } catch (error) {
      this.#stream.abort(toSnapferryError(error));
    }
  }
}

function leaving(): SnapferryError {
  return new SnapferryError('GOODBYE', 'the daemon is stopping, or has been told to end this connection');
}
