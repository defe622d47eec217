import { readFileSync } from 'node:fs';

const folder = new URL('../fixtures/btrfs/', import.meta.url);

/** One command as real btrfs answered it. */
export interface BtrfsRecording {
  readonly section: string;
  readonly name: string;
  readonly command: string;
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What `btrfs` 6.2 on Linux 6.18 was asked and said. */
export const btrfsRecordings: readonly BtrfsRecording[] = readFileSync(new URL('cases.jsonl', folder), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as BtrfsRecording);

/** The recording of that name. */
export function btrfsRecording(name: string): BtrfsRecording {
  const found = btrfsRecordings.find((recording) => recording.name === name);
  if (found === undefined) throw new Error(`there is no recording ${name}`);
  return found;
}

/** UUIDs of the recorded snapshots. */
export const recordedUUIDs = {
  live: '05805e08-fbd6-0e49-96cd-17cae06667f4',
  one: '81d429c9-6026-df46-af4b-dd1433ec8323',
  two: 'c1452f5b-bd88-4c4b-810d-69f67c22e80b',
  three: '9af696b3-d5ea-9041-b268-eb56029857b8',
} as const;

/** A stream that real `btrfs send` made: `full` of one, `incremental` from one to two, ... */
export function recordedStream(
  name: 'full' | 'full-v2' | 'full-cut' | 'full-corrupt' | 'incremental' | 'incremental-1-3' | 'incremental-2-3',
): Buffer {
  return readFileSync(new URL(`streams/${name}.btrfs`, folder));
}
