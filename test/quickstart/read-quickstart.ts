import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Something a reader of a quickstart does. */
export type Step =
  /** Types commands. */
  | { readonly kind: 'run'; readonly machine: string; readonly script: string; readonly line: number }
  /** Writes a file: a block of YAML that begins with a comment of its path. */
  | { readonly kind: 'write'; readonly machine: string; readonly path: string; readonly text: string }
  /** Compares what the commands before printed: a block without a language, in which `…` stands for anything. */
  | { readonly kind: 'see'; readonly machine: string; readonly lines: readonly string[]; readonly line: number };

const docs = join(import.meta.dirname, '../../docs');

/**
 * What a reader of `docs/NAME.md` does, in order. "On MACHINE" in a heading says where; before the first, it is "here". Only what lies
 * above the heading "And now" belongs to it.
 */
export function readQuickstart(name: string): Step[] {
  const steps: Step[] = [];
  const [text = ''] = readFileSync(join(docs, `${name}.md`), 'utf8').split('\n## And now');
  const pattern = /^#{2,3} .*?\bOn (?<machine>\w+)\b.*$|^```(?<language>\w*)\n(?<body>[^]*?)^```$/gm;
  let machine = 'here';
  for (const { groups = {}, index } of text.matchAll(pattern)) {
    const line = text.slice(0, index).split('\n').length;
    if (groups['machine'] !== undefined) machine = groups['machine'];
    else steps.push(stepOf(groups['language'] ?? '', groups['body'] ?? '', machine, line));
  }
  return steps;
}

function stepOf(language: string, body: string, machine: string, line: number): Step {
  switch (language) {
    case 'sh':
      return { kind: 'run', machine, script: body, line };
    case 'yaml': {
      const [, path] = /^# (\S+)\n/.exec(body) ?? [];
      if (path === undefined) throw new Error(`line ${line}: which file is this?`);
      return { kind: 'write', machine, path, text: body };
    }
    case '':
      return { kind: 'see', machine, lines: body.trimEnd().split('\n'), line };
    default:
      throw new Error(`line ${line}: what does one do with ${language}?`);
  }
}
