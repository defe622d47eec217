import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Outcome } from './fake-zfs-pool.ts';

/** One call of a real `zfs` (2.1.11), and what came of it. */
export interface Recording {
  readonly section: string;
  readonly name: string;
  readonly argv: readonly string[];
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const folder = join(import.meta.dirname, '../fixtures/zfs');

/** All of them. */
export const recordings = JSON.parse(readFileSync(join(folder, 'recordings.json'), 'utf8')) as readonly Recording[];

/** The one of this section and name. */
export function recorded(section: string, name: string): Recording {
  const found = recordings.find((recording) => recording.section === section && recording.name === name);
  if (found === undefined) throw new Error(`there is no recording "${name}" in "${section}"`);
  return found;
}

/** What a real `zfs send` wrote. */
export function recordedStream(name: 'full' | 'incremental' | 'raw-full' | 'full-props'): Buffer {
  return readFileSync(join(folder, 'streams', `${name}.zstream`));
}

/** What was recorded for these arguments, as an outcome of the fake `zfs`. */
export function replayed(args: readonly string[]): Outcome | undefined {
  return recordings.find(({ argv }) => argv.join('\0') === args.join('\0'));
}
