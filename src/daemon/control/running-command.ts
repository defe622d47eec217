import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { Clock } from '../../jobs/clock.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import { handedOverStream } from '../../rpc/handed-over-stream.ts';
import type { ByteStream } from '../../transport/byte-stream.ts';
import type { AdmittedCommand, ControlContext, ControlResult } from './control-command.ts';
import type { ControlLimits } from './control-limits.ts';
import { buildError, buildInternalError, buildProgress, buildResponse } from './control-message.ts';
import type { LineReader } from './line-reader.ts';

/** The connection a command came on. */
export interface CommandConnection {
  readonly id: number;
  readonly sinceMs: number;
  readonly logger: Logger;
  readonly stream: ByteStream;
  readonly reader: LineReader;
  readonly clock: Clock;
  readonly limits: ControlLimits;
  /** Sends a line; its rejection need not be caught. */
  readonly send: (line: Uint8Array) => Promise<void>;
  /** Drops the connection. */
  readonly lose: (error: SnapferryError) => void;
}

type Outcome = { readonly result: unknown } | { readonly error: unknown };

const ignore = (): void => undefined;

/** One command of one client, from its admission to its answer. */
export class RunningCommand {
  readonly cmd: string;
  readonly #connection: CommandConnection;
  readonly #controller = new AbortController();
  /** Rejects when the command does not end although its signal was aborted. */
  readonly #abandoned: Promise<never>;
  #abandon: (error: SnapferryError) => void = ignore;
  #state: 'running' | 'takenOver' | 'over' = 'running';
  #stopReason: SnapferryError | null = null;
  #stopGrace = ignore;
  #stopSettling = ignore;
  #stopProbing = ignore;

  constructor(cmd: string, connection: CommandConnection) {
    this.cmd = cmd;
    this.#connection = connection;
    this.#abandoned = new Promise((_, reject) => (this.#abandon = reject));
    this.#abandoned.catch(ignore);
  }

  /** Aborts the command's signal after `graceMs`, if it has not ended by then; at once if it has taken over the connection. */
  stopWithin(graceMs: number, reason: SnapferryError): void {
    this.#stopReason = reason;
    this.#stopGrace();
    if (this.#state === 'takenOver') this.abort(reason);
    else this.#stopGrace = this.#connection.clock.after(graceMs, () => this.abort(reason));
  }

  /** Aborts the command's signal. */
  abort(reason: SnapferryError): void {
    if (this.#state === 'over' || this.#controller.signal.aborted) return;
    this.#controller.abort(reason);
    const { clock, limits } = this.#connection;
    const message = `${this.cmd} did not end within ${limits.settleMsMax} ms of being told to (${reason.message})`;
    const abandon = (): void => this.#abandon(new SnapferryError('TIMEOUT', message, { cause: reason }));
    this.#stopSettling = clock.after(limits.settleMsMax, abandon);
  }

  /**
   * Carries it out and answers. False: it took over the connection, and is done with it.
   * @throws SnapferryError when the connection is to be dropped
   */
  async run(admitted: AdmittedCommand): Promise<boolean> {
    void this.#watchClient();
    try {
      const outcome = await Promise.race([this.#outcomeOf(admitted), this.#abandoned]);
      if (this.#hasTakenOver()) {
        if ('error' in outcome) throw this.#breakOff(outcome.error);
        return false;
      }
      this.#finish();
      await this.#connection.send(this.#answerTo(outcome));
      return true;
    } finally {
      this.#finish();
    }
  }

  async #outcomeOf(admitted: AdmittedCommand): Promise<Outcome> {
    try {
      return { result: await admitted.run(this.#context()) };
    } catch (error) {
      return { error };
    }
  }

  #context(): ControlContext {
    const { id, sinceMs, logger } = this.#connection;
    return {
      signal: this.#controller.signal,
      client: { id, sinceMs },
      logger,
      progress: (progress) => {
        const sent = this.#progress(progress);
        sent.catch(ignore);
        return sent;
      },
      takeOver: (response) => this.#takeOver(response),
    };
  }

  async #progress(progress: unknown): Promise<void> {
    if (this.#state === 'running') await this.#connection.send(buildProgress(progress));
  }

  async #takeOver(response: unknown): Promise<ByteStream> {
    if (this.#state !== 'running') {
      throw new SnapferryError('INTERNAL', `${this.cmd}: the connection was taken over or the command answered before`);
    }
    const { stream, reader, send } = this.#connection;
    const answer = buildResponse(response);
    this.#state = 'takenOver';
    this.#stopProbing();
    await send(answer);
    // What never ends by itself would make a stop wait for all of its grace.
    if (this.#stopReason !== null) this.abort(this.#stopReason);
    return handedOverStream(stream, reader.rest(), Promise.resolve());
  }

  #answerTo(outcome: Outcome): Uint8Array {
    const { logger } = this.#connection;
    try {
      if ('error' in outcome) throw outcome.error;
      if (isResult(outcome.result)) {
        const { result } = outcome;
        return result.kind === 'ok' ? buildResponse(result.response) : buildError(result.message, result.code);
      }
      throw new TypeError(`${this.cmd} returned neither ok nor failed`);
    } catch (error) {
      if (error instanceof SnapferryError && error.code !== 'INTERNAL') {
        logger.info({ cmd: this.cmd, code: error.code, err: error }, `${this.cmd} failed: ${error.message}`);
        return buildError(error.message, error.code);
      }
      logger.error({ cmd: this.cmd, err: error }, `${this.cmd} failed in a way that is a fault of the program`);
      return buildInternalError();
    }
  }

  /** What a command that took over the connection failed with; nothing can be told in a protocol that is not ours. */
  #breakOff(cause: unknown): SnapferryError {
    const error = toSnapferryError(cause, 'INTERNAL', this.cmd);
    const level = error.code === 'INTERNAL' ? 'error' : 'debug';
    this.#connection.logger[level]({ cmd: this.cmd, err: cause }, `${this.cmd} broke off: ${error.message}`);
    this.#connection.lose(error);
    return error;
  }

  /** Notices a client that has gone, which on a unix socket looks like one that sends no more but waits for its answer. */
  async #watchClient(): Promise<void> {
    try {
      if (await this.#connection.reader.fill()) return;
    } catch (error) {
      this.#connection.lose(toSnapferryError(error));
      return;
    }
    this.#probe();
  }

  #probe(): void {
    if (this.#state !== 'running') return;
    const { clock, limits, send } = this.#connection;
    this.#stopProbing = clock.after(limits.probeMs, () => {
      if (this.#state === 'running') send(buildProgress(null)).then(() => this.#probe(), ignore);
    });
  }

  // A method, because the state changes while the command runs, and the compiler would take it as unchanged.
  #hasTakenOver(): boolean {
    return this.#state === 'takenOver';
  }

  #finish(): void {
    this.#state = 'over';
    this.#stopGrace();
    this.#stopSettling();
    this.#stopProbing();
  }
}

function isResult(value: unknown): value is ControlResult {
  if (typeof value !== 'object' || value === null || !('kind' in value)) return false;
  if (value.kind === 'ok') return 'response' in value;
  const { code, message } = value as { code?: unknown; message?: unknown };
  return value.kind === 'failed' && typeof code === 'string' && typeof message === 'string';
}
