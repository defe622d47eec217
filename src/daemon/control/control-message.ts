import { z } from 'zod';
import { SnapferryError } from '../../errors.ts';

/** What a client asks. */
export interface ControlCall {
  readonly cmd: string;
  /** Not looked at yet. */
  readonly opts: unknown;
}

/** A line of the daemon's in answer to a command. */
export type ControlReply =
  | { readonly kind: 'progress'; readonly progress: unknown }
  | { readonly kind: 'response'; readonly response: unknown }
  | { readonly kind: 'error'; readonly code: string | null; readonly message: string };

const commandName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,63}$/, 'must be the name of a command: small letters, digits and hyphens');
const greeting = z.object({ version: z.string().max(256) });
const call = z.strictObject({ cmd: commandName, opts: z.record(z.string(), z.unknown()).default({}) });
const refusal = z.object({ status: z.literal(false), message: z.string(), code: z.string().optional() });
const success = z.object({ status: z.literal(true) });

/** What the daemon says first, as a line with its end. */
export function buildGreeting(version: string): Uint8Array {
  return encodeLine({ version });
}

/**
 * The version in a daemon's greeting.
 * @throws SnapferryError `PROTOCOL_VIOLATION` if it is none
 */
export function parseGreeting(line: Uint8Array): string {
  return checked(greeting, decodeLine(line), 'the greeting of a daemon').version;
}

/**
 * A command as a line with its end. `opts` must be an object, plain data.
 * @throws SnapferryError `INVALID_REQUEST` for what a line cannot say
 */
export function buildCall(cmd: string, opts: object = {}): Uint8Array {
  const problem = call.safeParse({ cmd, opts });
  if (!problem.success) throw new SnapferryError('INVALID_REQUEST', `${JSON.stringify(cmd)} is no command to send`);
  return encodeLine({ cmd, opts });
}

/**
 * A client's line.
 * @throws SnapferryError `PROTOCOL_VIOLATION`, with words for the client
 */
export function parseCall(line: Uint8Array): ControlCall {
  return checked(call, decodeLine(line), 'a command');
}

/** News of a command, as a line with its end. Undefined is sent as null. */
export function buildProgress(progress: unknown): Uint8Array {
  return encodeLine({ status: true, progress: progress ?? null });
}

/** The good end of a command, as a line with its end. Undefined is sent as null. */
export function buildResponse(response: unknown): Uint8Array {
  return encodeLine({ status: true, response: response ?? null });
}

/** The bad end of a command, as a line with its end. */
export function buildError(message: string, code?: string): Uint8Array {
  return encodeLine({ status: false, message, code });
}

/** The bad end of a command for reasons that must not be told. */
export function buildInternalError(): Uint8Array {
  return buildError("internal error; the daemon's log says more", 'INTERNAL');
}

/**
 * A daemon's line after its greeting. Fields it does not know are ignored: the daemon may be newer.
 * @throws SnapferryError `PROTOCOL_VIOLATION` for what is no reply, or lacks what one must have
 */
export function parseResponse(line: Uint8Array): ControlReply {
  const value = decodeLine(line);
  const refused = refusal.safeParse(value);
  if (refused.success) return { kind: 'error', code: refused.data.code ?? null, message: refused.data.message };
  if (success.safeParse(value).success) {
    const reply = value as object;
    const has = (key: string): boolean => Object.hasOwn(reply, key);
    if (has('response') && !has('progress')) return { kind: 'response', response: fieldOf(reply, 'response') };
    if (has('progress') && !has('response')) return { kind: 'progress', progress: fieldOf(reply, 'progress') };
  }
  throw new SnapferryError(
    'PROTOCOL_VIOLATION',
    'a reply must have status true and either progress or response, or status false and a message',
  );
}

function fieldOf(object: object, name: string): unknown {
  return (object as Record<string, unknown>)[name];
}

function encodeLine(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeLine(line: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(line)) as unknown;
  } catch (cause) {
    // Not the parser's own words: they quote the input, which may hold a secret.
    const what = cause instanceof TypeError ? 'is not UTF-8' : 'is not JSON';
    throw new SnapferryError('PROTOCOL_VIOLATION', `a line of ${line.byteLength} bytes ${what}`, { cause });
  }
}

function checked<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) => [...path.map(String), message].join(': '));
  throw new SnapferryError('PROTOCOL_VIOLATION', `not ${what}: ${problems.join('; ')}`);
}
