import { pino } from 'pino';
import { stringifyJSON, type JSONValue } from '../chunker/json-message.ts';
import type { Logger } from './interfaces.ts';

const shortCharactersMax = 300;
const longCharactersMax = 4000;

/**
 * Text that a peer wrote, fit for a log: nothing in it can move a cursor, forge a line or turn the writing direction, and
 * it has an end.
 */
export function escapeText(text: string, charactersMax = shortCharactersMax): string {
  const cut = text.length > charactersMax ? `${text.slice(0, charactersMax)}…` : text;
  return cut.replace(/[\\\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) =>
    character === '\\' ? '\\\\' : `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/** A request in its two log forms. */
export interface LoggedRequest {
  readonly name: string;
  /** What it is about, in a few words of the peer's; may be empty. */
  readonly short: () => string;
  /** The whole body. */
  readonly body: JSONValue;
}

/** The short form: name and subject. */
export function shortForm({ name, short }: Pick<LoggedRequest, 'name' | 'short'>): string {
  try {
    return escapeText(`${name} ${short()}`.trimEnd());
  } catch {
    // A program's own words for its request are no reason to fail it.
    return name;
  }
}

/** The long form: name and body. */
export function longForm({ name, body }: Pick<LoggedRequest, 'name' | 'body'>): string {
  return escapeText(`${name} ${textOf(body)}`, longCharactersMax);
}

/** Logs a request: short at `info`, long at `debug`. Costs nothing where nobody logs. */
export function logRequest(logger: Logger, request: LoggedRequest): void {
  if (isLogged(logger, 'info')) logger.info({ request: request.name }, `asked: ${shortForm(request)}`);
  if (isLogged(logger, 'debug')) logger.debug({ request: request.name }, `asked in full: ${longForm(request)}`);
}

function isLogged(logger: Logger, level: 'info' | 'debug'): boolean {
  const threshold = pino.levels.values[logger.level];
  // A logger with levels of its own decides itself.
  if (threshold === undefined) return logger.level !== 'silent';
  return (pino.levels.values[level] ?? 0) >= threshold;
}

function textOf(body: JSONValue): string {
  try {
    return stringifyJSON(body);
  } catch {
    // A fraction, which nothing of ours would send: only its digits are approximate.
    return JSON.stringify(body, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
  }
}
