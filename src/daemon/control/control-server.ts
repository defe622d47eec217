import type { Logger as PinoLogger } from 'pino';
import { SnapferryError } from '../../errors.ts';
import { systemClock } from '../../jobs/clock.ts';
import type { Clock } from '../../jobs/clock.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import { silent } from '../../rpc/opening.ts';
import type { ByteStream } from '../../transport/byte-stream.ts';
import type { Listener } from '../../transport/listener.ts';
import { listenUnix } from '../../transport/unix.ts';
import type { ControlCommands } from './control-command.ts';
import { defaultControlLimits } from './control-limits.ts';
import type { ControlLimits } from './control-limits.ts';
import { ControlSession } from './control-session.ts';

/** What a control server needs, whatever it is reached by. */
export interface ControlServerOptions {
  /** Told to every client that connects. */
  readonly version: string;
  readonly commands: ControlCommands;
  readonly limits?: Partial<ControlLimits>;
  /** Default: silent. */
  readonly logger?: Logger;
  /** Default: the machine's. */
  readonly clock?: Clock;
}

/** A client that is connected. */
export interface ConnectedClient {
  /** Counts up from 1. */
  readonly id: number;
  /** Wall clock, ms since 1970. */
  readonly sinceMs: number;
  /** What is being carried out for it; null: nothing. */
  readonly cmd: string | null;
  /**
   * Ends the connection from outside: at once if nothing is being carried out, else with the answer; after `graceMs` the command's
   * signal is aborted, and one that does not end even then is left behind.
   */
  readonly requestStop: (graceMs: number) => void;
}

/** Answers commands on any number of connections. */
export class ControlServer implements AsyncDisposable {
  readonly #options: ControlServerOptions;
  readonly #limits: ControlLimits;
  readonly #sessions = new Map<ControlSession, Promise<void>>();
  #served = 0;
  #listener: Listener | null = null;
  #isLeaving = false;

  constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#limits = { ...defaultControlLimits, ...options.limits };
  }

  /** The clients, in the order in which they came. */
  clients(): readonly ConnectedClient[] {
    return [...this.#sessions.keys()].map((session) => ({
      id: session.id,
      sinceMs: session.sinceMs,
      cmd: session.cmd,
      requestStop: (graceMs) => session.requestStop(graceMs),
    }));
  }

  /**
   * Listens on a unix socket, whose directory must be private. A dead socket there is replaced.
   * @throws SnapferryError as {@link listenUnix}: `BUSY` if another daemon listens there; `INVALID_REQUEST` if this one does
   */
  async listen(path: string): Promise<void> {
    if (this.#listener !== null || this.#isLeaving) {
      throw new SnapferryError(
        'INVALID_REQUEST',
        `this control server cannot listen on ${path}: it listens or is closed`,
      );
    }
    const { logger = silent } = this.#options;
    const listener = await listenUnix(path, (stream) => this.serve(stream), isPino(logger) ? { logger } : {});
    this.#listener = listener;
    // A method, for it may have been closed meanwhile.
    if (this.#hasLeft()) await listener.close();
  }

  /** Serves one connection, and owns its stream. Never rejects. */
  async serve(stream: ByteStream): Promise<void> {
    const { version, commands, logger = silent, clock = systemClock } = this.#options;
    const refusal = this.#refusal();
    if (refusal !== null && this.#sessions.size >= 2 * this.#limits.clientsMax) {
      // To say no takes a connection, too.
      stream.abort(refusal);
      return;
    }
    const session = new ControlSession(stream, {
      ...{ id: ++this.#served, version, commands, logger, clock, refusal },
      limits: this.#limits,
    });
    const over = session.run();
    this.#sessions.set(session, over);
    await over;
    this.#sessions.delete(session);
  }

  /**
   * Ends the server: the path is removed, clients without a command are sent away, commands may end within `graceMs` and have their
   * signals aborted then. Resolves when every connection is released. Called again, it can only get shorter.
   */
  async close(graceMs = 0): Promise<void> {
    this.#isLeaving = true;
    await this.#listener?.close();
    for (const session of this.#sessions.keys()) session.requestStop(graceMs);
    while (this.#sessions.size > 0) await Promise.all(this.#sessions.values());
  }

  /** As {@link close} without grace. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #refusal(): SnapferryError | null {
    if (this.#isLeaving) return new SnapferryError('GOODBYE', 'the daemon is stopping');
    const { clientsMax } = this.#limits;
    if (this.#sessions.size < clientsMax) return null;
    return new SnapferryError('BUSY', `${clientsMax} clients are connected, and no more are allowed; try again later`);
  }

  #hasLeft(): boolean {
    return this.#isLeaving;
  }
}

function isPino(logger: Logger): logger is PinoLogger {
  return 'child' in logger;
}

/**
 * A control server that listens on the unix socket at `path`.
 * @throws SnapferryError as {@link ControlServer.listen}
 */
export async function controlServer(options: ControlServerOptions & { readonly path: string }): Promise<ControlServer> {
  const server = new ControlServer(options);
  await server.listen(options.path);
  return server;
}
