import { pino } from 'pino';
import type { Logger } from '../../rpc/interfaces.ts';
import { escapeText } from '../../rpc/request-log.ts';

const redacted = '[redacted]';
const secretName = /pass(?!ed|ing)|secret|token|credential|authorization|cookie|api_?-?key|private_?-?key/i;
/** `https://user:password@host` */
const userInfo = /(\b[a-z][a-z0-9+.-]{0,30}:\/\/)[^\s/?#@]+@/gi;
const depthMax = 8;
const charactersMax = 4000;

/** The short form of a command for the log: its name and its own words for what it is about. */
export function shortForm(cmd: string, short: () => string): string {
  try {
    return escapeText(`${cmd} ${withoutUserInfo(short())}`.trimEnd());
  } catch {
    // A command's words for its log are no reason not to carry it out.
    return cmd;
  }
}

/**
 * The long form: the name and all options. Values whose name speaks of a secret, and the login in an address, are not shown; what is
 * nested deeply is cut.
 */
export function longForm(cmd: string, opts: unknown): string {
  return escapeText(`${cmd} ${JSON.stringify(redact(opts, depthMax))}`, charactersMax);
}

/** Logs a command: short at `info`, long at `debug`. The long form is not made where nobody reads it. */
export function logCall(
  logger: Logger,
  call: { readonly cmd: string; readonly opts: unknown },
  short: () => string,
): void {
  logger.info({ cmd: call.cmd }, `asked: ${shortForm(call.cmd, short)}`);
  const level = pino.levels.values[logger.level] ?? 0;
  if (logger.level === 'silent' || level > (pino.levels.values['debug'] ?? 0)) return;
  logger.debug({ cmd: call.cmd }, `asked in full: ${longForm(call.cmd, call.opts)}`);
}

function redact(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return withoutUserInfo(value);
  if (typeof value !== 'object' || value === null) return value;
  if (depth === 0) return '…';
  if (Array.isArray(value)) return value.map((item) => redact(item, depth - 1));
  const entries = Object.entries(value).map(([name, field]): [string, unknown] => [
    name,
    secretName.test(name) ? redacted : redact(field, depth - 1),
  ]);
  return Object.fromEntries(entries);
}

function withoutUserInfo(text: string): string {
  return text.replace(userInfo, `$1${redacted}@`);
}
