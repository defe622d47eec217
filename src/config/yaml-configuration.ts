import { LineCounter, parseDocument } from 'yaml';
import type { Document, Node, Pair } from 'yaml';
import { z } from 'zod';
import { ConfigurationError } from './configuration-error.ts';
import { nearest } from './nearest.ts';

/**
 * Reads a YAML text by a schema. Every problem is reported, each with file, line and column, the line itself and a mark
 * below the place; a misspelt key with the one that was probably meant.
 * @param file its name, for messages
 * @throws ConfigurationError
 */
export function parseConfiguration<Schema extends z.ZodType>(
  text: string,
  file: string,
  schema: Schema,
): z.output<Schema> {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false, uniqueKeys: true });
  const at = (offset: number, problem: string): string => {
    const { line, col } = lineCounter.linePos(Math.min(offset, text.length));
    return `${file}:${line}:${col}: ${problem}\n${excerpt(text, line, col)}`;
  };
  const fail = (problems: readonly string[]) => new ConfigurationError(problems.join('\n'));
  if (document.errors.length > 0) throw fail(document.errors.map((error) => at(error.pos[0], error.message)));

  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw fail([at(0, (error as Error).message)]);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw fail(result.error.issues.flatMap((issue) => describeIssue(issue, document, schema, at)));
}

type At = (offset: number, problem: string) => string;

function describeIssue(issue: z.core.$ZodIssue, document: Document, schema: z.ZodType, at: At): string[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const known = keysAt(schema, issue.path);
      const meant = nearest(key, known);
      const advice = meant === null ? `known here: ${known.join(', ')}` : `did you mean "${meant}"?`;
      return at(offsetOf(document, [...issue.path, key], true), `unknown key "${key}"; ${advice}`);
    });
  }
  const inKey = issue.code === 'invalid_key';
  const messages = inKey ? issue.issues.map((inner) => inner.message) : [issue.message];
  const name = issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  return messages.map((message) => at(offsetOf(document, issue.path, inKey), name + message));
}

/** Where the value at `path` (or its key) begins; the nearest parent that exists when it does not. */
function offsetOf(document: Document, path: readonly PropertyKey[], ofKey: boolean): number {
  for (let length = path.length; length > 0; length -= 1) {
    const parent = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    const key = path[length - 1];
    const items = (parent as { items?: readonly unknown[] } | null)?.items ?? [];
    if (typeof key === 'number') {
      const offset = startOf(items[key]);
      if (offset !== null) return offset;
      continue;
    }
    const pair = (items as readonly Pair<Node, Node | null>[]).find(
      (item) => (item.key as { value?: unknown }).value === key,
    );
    const offset = ofKey && length === path.length ? startOf(pair?.key) : (startOf(pair?.value) ?? startOf(pair?.key));
    if (offset !== null) return offset;
  }
  return startOf(document.contents) ?? 0;
}

function startOf(node: unknown): number | null {
  return (node as Node | null | undefined)?.range?.[0] ?? null;
}

/** The keys an object may have at `path` of the schema. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: unknown = schema;
  for (const key of [...path, null]) {
    while (at instanceof z.ZodOptional || at instanceof z.ZodDefault) at = at.unwrap();
    if (key === null) break;
    if (at instanceof z.ZodObject) at = at.shape[key as string];
    else if (at instanceof z.ZodRecord) at = at.valueType;
    else if (at instanceof z.ZodArray) at = at.element;
  }
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}

function excerpt(text: string, line: number, column: number): string {
  const number = String(line);
  const content = (text.split('\n')[line - 1] ?? '').replaceAll('\t', ' ');
  return `  ${number} | ${content}\n  ${' '.repeat(number.length)} | ${' '.repeat(column - 1)}^`;
}
