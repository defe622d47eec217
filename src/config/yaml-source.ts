import { Lexer, LineCounter, parseDocument } from 'yaml';
import type { Document, Node, Pair } from 'yaml';
import { ConfigurationError, configurationProblems } from './configuration-error.ts';

/** A place in a value: keys and indices from the outside in. */
export type ValuePath = readonly PropertyKey[];

/** A YAML text that could be read, and where everything in it is. */
export interface YamlSource {
  /** Its name, for messages. */
  readonly file: string;
  /** What it says; undefined when it says nothing. */
  readonly value: unknown;
  /**
   * `file:line:column: problem`, and below it the line itself with a mark. The place is where the value at `path` begins (or its
   * key); where there is none, where the nearest thing around it begins.
   */
  readonly at: (path: ValuePath, problem: string, place?: 'value' | 'key') => LocatedProblem;
}

/** A problem in words, with what to sort it by. */
export interface LocatedProblem {
  readonly text: string;
  /** Position in the file. */
  readonly offset: number;
}

const aliasesMax = 100;
const textCharactersMax = 4 * 1024 * 1024;
/** Far more than the schema has. */
const depthMax = 100;
/** Before the first word of a line: each level of blocks takes at least one. */
const indentCharactersMax = 400;

/**
 * Reads a YAML text.
 * @param file its name, for messages
 * @param version `1.1` is what Go programs read, in which `yes`, `no`, `on` and `off` are true or false, too
 * @throws ConfigurationError with every error of its syntax
 */
export function readYaml(text: string, file: string, version: '1.1' | '1.2' = '1.2'): YamlSource {
  if (text.length > textCharactersMax) {
    throw new ConfigurationError(`${file}: is larger than ${textCharactersMax} characters, which no configuration is`);
  }
  const lineCounter = new LineCounter();
  checkDepth(text, file);
  const document = parseDocument(text, {
    lineCounter,
    prettyErrors: false,
    uniqueKeys: true,
    merge: true,
    version,
    logLevel: 'error',
  });
  const locate = (offset: number, problem: string): LocatedProblem => {
    const { line, col } = lineCounter.linePos(Math.min(offset, text.length));
    return { offset, text: `${file}:${line}:${col}: ${problem}\n${excerpt(text, line, col)}` };
  };
  const fail = (problems: readonly LocatedProblem[]) => configurationProblems(problems.map((problem) => problem.text));
  if (document.errors.length > 0) throw fail(document.errors.map((error) => locate(error.pos[0], error.message)));

  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: aliasesMax });
    // Throws for what contains itself, which nobody after us could walk through.
    JSON.stringify(value);
  } catch (error) {
    const isCircle = error instanceof TypeError && error.message.includes('circular');
    throw fail([locate(0, isCircle ? 'an alias (*) stands inside of its own anchor (&)' : (error as Error).message)]);
  }
  return {
    file,
    value: value ?? undefined,
    at: (path, problem, place = 'value') => locate(offsetOf(document, path, place === 'key'), problem),
  };
}

/**
 * Refuses what the parser, which calls itself for each level, could not read without ending the whole program: V8 does not
 * survive a regular expression compiled at the end of the stack.
 */
function checkDepth(text: string, file: string): void {
  const refuse = () => {
    throw new ConfigurationError(`${file}: is nested too deeply to be read`);
  };
  for (const line of text.split('\n')) {
    if ((/^[\s?:-]*/.exec(line)?.[0].length ?? 0) > indentCharactersMax) refuse();
  }
  let depth = 0;
  for (const token of new Lexer().lex(text)) {
    if (token === '[' || token === '{') depth += 1;
    else if (token === ']' || token === '}') depth -= 1;
    if (depth > depthMax) refuse();
  }
}

function offsetOf(document: Document, path: ValuePath, ofKey: boolean): number {
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
      (item) => String((item.key as { value?: unknown } | null)?.value) === key,
    );
    const offset = ofKey && length === path.length ? startOf(pair?.key) : (startOf(pair?.value) ?? startOf(pair?.key));
    if (offset !== null) return offset;
  }
  return startOf(document.contents) ?? 0;
}

function startOf(node: unknown): number | null {
  return (node as Node | null | undefined)?.range?.[0] ?? null;
}

function excerpt(text: string, line: number, column: number): string {
  const number = String(line);
  const content = (text.split('\n')[line - 1] ?? '').replaceAll('\t', ' ').replace(/\r$/, '');
  return `  ${number} | ${content}\n  ${' '.repeat(number.length)} | ${' '.repeat(column - 1)}^`;
}
