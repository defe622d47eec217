import { resolve } from 'node:path';
import { Cron } from 'croner';
import { z } from 'zod';
import { parseDuration } from '../duration.ts';
import { compileNamePattern } from '../name-pattern.ts';
import type { ListenSettings, NetworkAddress } from './connection-settings.ts';
import { parseSize } from './size.ts';

/** What zod has to be given as `error` so that a message says what was expected and what was found. */
export function expecting(what: string): { readonly error: (issue: { readonly input?: unknown }) => string } {
  return {
    error: ({ input }) =>
      input === undefined ? `missing: expected ${what}` : `expected ${what}, found ${found(input)}`,
  };
}

/** A value in a message: short, on one line. */
export function found(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a mapping';
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return 'something else';
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** A text that `parse` turns into something, or throws about. */
export function parsedText<Value>(what: string, parse: (text: string) => Value) {
  return z.string(expecting(what)).transform((text, context) => {
    try {
      return parse(text);
    } catch (error) {
      context.addIssue((error as Error).message);
      return z.NEVER;
    }
  });
}

/** A duration, as ms. */
export const duration = parsedText('a duration such as "10m"', parseDuration).meta({
  examples: ['30s', '10m', '1h', '14d'],
});

/** A size, as bytes. */
export const size = parsedText('a size such as "10 MiB"', parseSize).meta({
  examples: ['512 KiB', '10 MiB', '1.5 GiB'],
});

/** true or false. */
export const yesOrNo = z.boolean(expecting('true or false'));

/** A whole number within bounds. */
export function wholeNumber(min: number, max: number) {
  const expected = expecting(`a whole number from ${min} to ${max}`);
  return z.int(expected).min(min, expected).max(max, expected);
}

/** A text that is not empty and has no control characters. */
export function text(what: string) {
  return z.string(expecting(what)).regex(/^[^\u0000-\u001f\u007f]+$/, expecting(what));
}

/** One of some words. */
export function oneOf<const Words extends readonly [string, ...string[]]>(words: Words) {
  return z.enum(words);
}

/** A list of at least one. */
export function listOf<Schema extends z.ZodType>(item: Schema, what: string) {
  return z
    .array(item, expecting(what))
    .min(1, expecting(what))
    .transform((items) => items as [z.output<Schema>, ...z.output<Schema>[]]);
}

/** A program and its arguments, as a list of words. */
export const argv = listOf(
  z.string(expecting('a word')).regex(/^[^\0]*$/, 'has a zero byte'),
  'a program and its arguments as a list, e.g. [/usr/local/bin/tell, admin]',
).refine(([program]) => /^[^-\s][^\s]*$/.test(program), 'must begin with the program');

/** A path that has to be absolute. */
export const absolutePath = text('an absolute path')
  .refine((value) => value.startsWith('/'), 'must be absolute: begin with "/"')
  .refine((value) => !value.split('/').includes('..'), 'must not have ".." in it')
  .transform((value) => resolve(value));

/** Part of a dataset's name on every backend, since copies are stored below it. */
export const identity = z
  .string(expecting('an identity'))
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$/,
    'an identity has letters, digits, "_", ".", ":" and "-" only, and begins with a letter or digit',
  )
  .refine((name) => name !== 'local', '"local" is no identity of a peer');

/** A regular expression for names of snapshots. */
export const namePattern = parsedText('a regular expression', (source) => {
  compileNamePattern(source);
  return source;
});

/** A line of cron, checked to come due some time. */
export const cron = parsedText('a line of cron such as "15 3 * * *"', (line) => {
  const fields = line.trim().split(/\s+/).length;
  if (fields < 5 || fields > 6) {
    throw new Error(
      `has ${fields} fields; expected minute, hour, day of month, month, day of week (and seconds before them)`,
    );
  }
  let next;
  try {
    next = new Cron(line, { paused: true }).nextRun();
  } catch (error) {
    throw new Error(`is no line of cron: ${(error as Error).message.replace(/^CronPattern: /, '')}`, { cause: error });
  }
  if (next === null) throw new Error('never comes due');
  return line.trim();
}).meta({ examples: ['*/15 * * * *', '15 3 * * *'] });

const addressPattern = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([A-Za-z0-9_][A-Za-z0-9_.-]*))?:(\d{1,5})$/;

function hostAndPort(value: string, form: string): { host: string | null; port: number } {
  const parts = addressPattern.exec(value);
  const port = Number(parts?.[3]);
  if (parts === null || port < 1 || port > 65535)
    throw new Error(`${JSON.stringify(value)} is not of the form ${form}`);
  return { host: parts[1] ?? parts[2] ?? null, port };
}

/** `host:port` */
export const networkAddress = parsedText('host:port', (value): NetworkAddress => {
  const { host, port } = hostAndPort(value, 'host:port, e.g. "backup.example.com:8888" or "[fd00::1]:8888"');
  if (host === null) throw new Error(`${JSON.stringify(value)} has no host before the port`);
  return { host, port };
});

/** `address:port`, `:port`, or `systemd:NAME` for a socket that systemd opens. */
export const listenAddress = parsedText('address:port, :port or systemd:NAME', (value): ListenSettings => {
  const socketName = systemdSocket(value);
  return socketName === null ? hostAndPort(value, 'address:port, :port or systemd:NAME') : { socketName };
});

/** The name in `systemd:NAME`, else null. */
export function systemdSocket(value: string): string | null {
  return /^systemd:([^\s:\d][^\s:]*)$/.exec(value)?.[1] ?? null;
}
