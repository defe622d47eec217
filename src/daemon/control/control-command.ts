import type { z } from 'zod';
import type { Logger } from '../../rpc/interfaces.ts';
import type { ByteStream } from '../../transport/byte-stream.ts';

/** What a command answers: {@link ok} or {@link failed}. Anything else is told as an internal error and nothing of it is sent. */
export type ControlResult =
  | { readonly kind: 'ok'; readonly response: unknown }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

/** The command was carried out. @param response plain data, sent as JSON; nothing is sent as null */
export function ok(response: unknown = null): ControlResult {
  return { kind: 'ok', response };
}

/**
 * The command was not carried out, and the client is told so in these words.
 * @param code of a SnapferryError, or one of the program's (`CONFIGURATION`)
 */
export function failed(code: string, message: string): ControlResult {
  return { kind: 'failed', code, message };
}

/** The client that asks, as a command sees it. */
export interface AskingClient {
  /** Counts up from 1. */
  readonly id: number;
  /** Wall clock, ms since 1970. */
  readonly sinceMs: number;
}

/** What a command works with. */
export interface ControlContext {
  /** Aborted when the client is gone, is told to leave, or the server stops and its grace is over. */
  readonly signal: AbortSignal;
  readonly client: AskingClient;
  readonly logger: Logger;
  /**
   * Tells the client how it is going: plain data, sent as JSON. Resolves when the client can take more, so await it; rejects with
   * `CONNECTION_LOST` or `TIMEOUT` once the client is gone (and then need not be caught). Ignored after the answer.
   */
  readonly progress: (progress: unknown) => Promise<void>;
  /**
   * Answers with `response`, then takes the connection away from the line protocol: what the client sent after its command, also
   * what has already arrived, is read from the stream. When `run` resolves, the server closes the stream; when it rejects, it aborts
   * it. The end of the stream's source means that the client has left. What `run` resolves with is not sent any more.
   * @throws SnapferryError `CONNECTION_LOST`, `TIMEOUT`, `INTERNAL` if called twice
   */
  readonly takeOver: (response?: unknown) => Promise<ByteStream>;
}

/** A command, as it is written. */
export interface ControlCommandOptions<Schema extends z.ZodType> {
  /** What `opts` must be. Make it a `z.strictObject`, so that a misspelt option is refused. */
  readonly schema: Schema;
  /** What it is about, in a few words for the log, without secrets; may be empty. */
  readonly short: (opts: z.output<Schema>) => string;
  /**
   * Carries it out. A SnapferryError is told to the client with code and message, but for `INTERNAL`; that and any other error is
   * logged in full and told as an internal error only.
   */
  readonly run: (opts: z.output<Schema>, context: ControlContext) => Promise<ControlResult>;
}

/** A command whose options have been found right. */
export interface AdmittedCommand {
  readonly short: () => string;
  readonly run: (context: ControlContext) => Promise<ControlResult>;
}

/** A command of any options, as the server keeps it. Made by {@link controlCommand}. */
export interface ControlCommand {
  /** The command with these options, or what is wrong with them, for people. */
  readonly admit: (opts: unknown) => AdmittedCommand | string;
}

/** Commands by name. */
export type ControlCommands = ReadonlyMap<string, ControlCommand>;

/** A command of the control socket: what it takes, how it is logged, what it does. */
export function controlCommand<Schema extends z.ZodType>(options: ControlCommandOptions<Schema>): ControlCommand {
  return {
    admit(opts) {
      const checked = options.schema.safeParse(opts);
      if (!checked.success) return checked.error.issues.map(describeIssue).join('; ');
      const { data } = checked;
      return { short: () => options.short(data), run: (context) => options.run(data, context) };
    },
  };
}

function describeIssue({ path, message }: z.core.$ZodIssue): string {
  return path.length === 0 ? message : `${path.map(String).join('.')}: ${message}`;
}
