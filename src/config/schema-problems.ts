import { z } from 'zod';
import { explainForeignKey } from './foreign-keys.ts';
import { nearest } from './nearest.ts';
import { found } from './scalar-schemas.ts';
import type { LocatedProblem, ValuePath, YamlSource } from './yaml-source.ts';

/** What came of holding a value against a schema: every problem there is, and the value if there is none. */
export type SchemaResult<Schema extends z.ZodType> =
  | { readonly data: z.output<Schema>; readonly problems: readonly [] }
  | { readonly data: null; readonly problems: readonly LocatedProblem[] };

/**
 * Holds what a source says against a schema. Each problem says where it is, what was expected and what was found; a misspelt key
 * comes with the one that was probably meant.
 */
export function checkSchema<Schema extends z.ZodType>(source: YamlSource, schema: Schema): SchemaResult<Schema> {
  const result = schema.safeParse(source.value, { error: (issue) => describe(issue) });
  if (result.success) return { data: result.data, problems: [] };
  const problems = problemsOf(result.error.issues, source, schema);
  return { data: null, problems: problems.sort((one, other) => one.offset - other.offset) };
}

const kinds: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'a mapping',
  record: 'a mapping',
};

/** The message of an issue whose schema has none of its own. */
function describe(issue: z.core.$ZodRawIssue): string | undefined {
  const expected = (what: string) =>
    issue.input === undefined ? `missing: expected ${what}` : `expected ${what}, found ${found(issue.input)}`;
  if (issue.code === 'invalid_type') return expected(kinds[issue.expected] ?? issue.expected);
  if (issue.code === 'invalid_value')
    return expected(choices(issue.values.map(String))) + meant(issue.input, issue.values.map(String));
  if (issue.code === 'invalid_union' && 'discriminator' in issue) {
    const { input, discriminator } = issue as { input?: unknown; discriminator?: unknown };
    const options = (issue as { options?: readonly unknown[] }).options?.map(String) ?? [];
    const given = (input as Record<string, unknown> | null)?.[String(discriminator)];
    if (given === undefined) return `missing: expected ${choices(options)}`;
    return `expected ${choices(options)}, found ${found(given)}${meant(given, options)}`;
  }
  if (issue.code === 'too_small')
    return issue.input === '' ? 'must not be empty' : `must have at least ${issue.minimum}`;
  return undefined;
}

function choices(words: readonly string[]): string {
  const quoted = words.map((word) => `"${word}"`);
  return quoted.length === 1 ? (quoted[0] ?? '') : `one of ${quoted.join(', ')}`;
}

function meant(given: unknown, words: readonly string[]): string {
  const near = typeof given === 'string' ? nearest(given, words) : null;
  return near === null ? '' : `; did you mean "${near}"?`;
}

function problemsOf(issues: readonly z.core.$ZodIssue[], source: YamlSource, schema: z.ZodType): LocatedProblem[] {
  const misspelt = new Set<string>();
  const problems: LocatedProblem[] = [];
  for (const issue of issues) {
    if (issue.code !== 'unrecognized_keys') continue;
    const { keys: known, value } = keysAt(schema, source.value, issue.path);
    for (const key of issue.keys) {
      const near = nearest(key, known);
      if (near !== null) misspelt.add(pathKey([...issue.path, near]));
      const foreign = explainForeignKey(key, value);
      const advice = foreign ?? (near === null ? `known here: ${known.join(', ')}` : `did you mean "${near}"?`);
      problems.push(source.at([...issue.path, key], `unknown key "${key}"; ${advice}`, 'key'));
    }
  }
  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') continue;
    // Whoever wrote "filesystem:" need not be told that filesystems is missing, too.
    if (issue.message.startsWith('missing') && misspelt.has(pathKey(issue.path))) continue;
    const inKey = issue.code === 'invalid_key';
    const ofKey = inKey || (issue.code === 'custom' && issue.params?.['ofKey'] === true);
    const messages = inKey ? issue.issues.map((inner) => inner.message) : [issue.message];
    for (const message of messages) {
      problems.push(source.at(issue.path, formatPath(issue.path) + message, ofKey ? 'key' : 'value'));
    }
  }
  return problems;
}

function pathKey(path: ValuePath): string {
  return JSON.stringify(path.map(String));
}

/** `jobs.0.pruning.keep.1.count: `, with a space after it; empty for the whole. */
export function formatPath(path: ValuePath): string {
  return path.length === 0 ? '' : `${path.map(String).join('.')}: `;
}

/** The keys an object may have at `path`, and the object itself. */
function keysAt(schema: z.ZodType, value: unknown, path: ValuePath): { keys: string[]; value: unknown } {
  let at: unknown = schema;
  let inside = value;
  for (const key of [...path, null]) {
    at = unwrapped(at, inside);
    if (key === null) break;
    inside = (inside as Record<PropertyKey, unknown> | null | undefined)?.[key];
    if (at instanceof z.ZodObject) at = (at.shape as Record<PropertyKey, unknown>)[key];
    else if (at instanceof z.ZodRecord) at = at.valueType;
    else if (at instanceof z.ZodArray) at = at.element;
    else if (at instanceof z.ZodTuple) at = at.def.items[Number(key)] ?? at.def.rest;
  }
  return { keys: at instanceof z.ZodObject ? Object.keys(at.shape) : [], value: inside };
}

/** Without what stands around an object, list or record; of several kinds of object the one `value` says it is. */
function unwrapped(schema: unknown, value: unknown): unknown {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault) {
    return unwrapped(schema.unwrap(), value);
  }
  if (schema instanceof z.ZodPipe) return unwrapped(schema.in, value);
  if (!(schema instanceof z.ZodDiscriminatedUnion)) return schema;
  const { discriminator } = schema.def;
  const given = (value as Record<string, unknown> | null | undefined)?.[discriminator];
  return schema.options
    .map((option) => unwrapped(option, value))
    .find(
      (option) =>
        option instanceof z.ZodObject &&
        (option.shape as Record<string, z.ZodType>)[discriminator]?.safeParse(given).success,
    );
}
