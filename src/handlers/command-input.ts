import type { Writable } from 'node:stream';
import type { Uint8ArrayList } from 'uint8arraylist';
import { SnapferryError } from '../errors.ts';
import { describeCommand, type CommandIdentity } from './command-failure.ts';
import type { StallWatch } from './stall-watch.ts';

/** Bytes a command is fed with, or gives. */
export type CommandBytes = Uint8Array | Uint8ArrayList;

/** The writing end of a command's stdin. */
export class CommandInput {
  readonly #stdin: Writable;
  readonly #finished: Promise<unknown>;
  readonly #options: CommandIdentity;
  readonly #watch: StallWatch | null;

  constructor(stdin: Writable, finished: Promise<unknown>, options: CommandIdentity, watch: StallWatch | null) {
    this.#stdin = stdin;
    this.#finished = finished;
    this.#options = options;
    this.#watch = watch;
    stdin.on('error', () => undefined);
  }

  /** Resolves when the bytes are taken. Rejects with the command's own error if it died of one. */
  async write(bytes: CommandBytes): Promise<void> {
    const failure = await this.#send(bytes);
    if (failure === null) return;
    // The command hung up. Its own reason, if it has one, says more than EPIPE.
    await this.#finished;
    const code = this.#options.code ?? 'SOURCE_FAILED';
    throw new SnapferryError(code, `${describeCommand(this.#options)} stopped reading before the end of its input`, {
      cause: failure,
    });
  }

  #send(bytes: CommandBytes): Promise<Error | null> {
    const pieces = bytes instanceof Uint8Array ? [bytes] : [...bytes];
    if (pieces.length === 0) return Promise.resolve(null);
    this.#watch?.begin();
    return new Promise<Error | null>((resolve) => {
      const done = (error?: Error | null): void => {
        this.#watch?.end();
        // What was under way when the pipe was closed on our side is reported as if it had been taken.
        const lost = this.#stdin.destroyed ? new Error('the pipe was closed') : null;
        resolve(error ?? lost);
      };
      if (pieces.length > 1) this.#stdin.cork();
      pieces.forEach((piece, index) => {
        const isLast = index === pieces.length - 1;
        this.#stdin.write(piece, isLast ? done : undefined);
      });
      if (pieces.length > 1) this.#stdin.uncork();
    });
  }

  /** Ends the input; a command that no longer listens is no error here. */
  end(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#stdin.destroyed) resolve();
      else {
        this.#stdin.once('close', () => resolve());
        this.#stdin.end(() => resolve());
      }
    });
  }

  /** A command may end well without reading all it is given (`tar` stops at the end of the archive). */
  async feed(stdin: AsyncIterable<CommandBytes> | Uint8Array): Promise<void> {
    if (stdin instanceof Uint8Array) await this.#send(stdin);
    else {
      for await (const bytes of stdin) {
        if ((await this.#send(bytes)) !== null) break;
      }
    }
    await this.end();
  }
}
