import { open, rename } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { emptyHistoryFold, foldHistory } from './history-fold.ts';
import { historyLines } from './history-lines.ts';
import type { HistoryRecord } from './history-record.ts';
import { emptyJobRecord, runsBehind } from './job-record.ts';

/** How much history is kept. */
export interface HistoryBounds {
  /** Of each job, the newest so many runs, and those without which it would no longer be known what was last a success. */
  readonly runsPerJobMax: number;
  /** Fewer runs are kept when the file would be larger. */
  readonly bytesMax: number;
  /** Jobs without a run for so long before the newest of all are left out, in ms. */
  readonly ageMsMax: number;
}

/** The bounds unless told otherwise. */
export const historyBoundsDefault: HistoryBounds = {
  runsPerJobMax: 1000,
  bytesMax: 64 * 1024 * 1024,
  ageMsMax: 366 * 24 * 3_600_000,
};

const newline = Buffer.from('\n');

/** Of what is kept aside because it cannot be read: more is left where nobody finds it. */
const unreadableBytesMax = 16 * 1024 * 1024;

/**
 * Writes a shorter history into a new file and puts it in the place of the old one, by one rename. Lines that cannot be read are
 * added to another file first. Readers that have the old one open are not disturbed; there must be no other writer.
 */
export async function compactHistory(path: string, unreadablePath: string, bounds: HistoryBounds): Promise<void> {
  const old = await open(path, 'r');
  try {
    const chosen = await chooseRuns(old, bounds);
    const shorter = await open(`${path}.new`, 'w', 0o600);
    try {
      await copyLines({ from: old, to: shorter, chosen, unreadablePath });
      await shorter.datasync();
    } finally {
      await shorter.close();
    }
    await rename(`${path}.new`, path);
    await syncDirectory(dirname(path));
  } finally {
    await old.close();
  }
}

/** Makes durable what was renamed in it. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  await directory.sync().finally(() => directory.close());
}

interface KnownRun {
  readonly run: string;
  readonly endedMs: number;
  readonly bytes: number;
}

/** The ids of runs to keep. */
interface ChosenRuns {
  readonly begun: ReadonlySet<string>;
  readonly ended: ReadonlySet<string>;
}

async function chooseRuns(file: FileHandle, bounds: HistoryBounds): Promise<ChosenRuns> {
  const fold = emptyHistoryFold();
  const runs = new Map<string, KnownRun[]>();
  let newestMs = -Infinity;
  for await (const { record, bytes } of historyLines(file)) {
    if (record === null) continue;
    foldHistory(fold, record);
    if (!('ended' in record)) continue;
    const { job, run, endedMs } = record.ended;
    const known = runs.get(job) ?? [];
    runs.set(job, known);
    known.push({ run, endedMs, bytes: bytes.length + 1 });
    newestMs = Math.max(newestMs, endedMs);
  }
  const living = [...runs].filter(([, known]) => newestMs - (known.at(-1)?.endedMs ?? 0) <= bounds.ageMsMax);
  const count = countThatFits(
    living.map(([, known]) => known),
    bounds,
  );
  const ended = new Set<string>();
  for (const [job, known] of living) {
    for (const { run } of known.slice(-count)) ended.add(run);
    for (const run of runsBehind(fold.jobs.get(job) ?? emptyJobRecord(job))) ended.add(run);
  }
  return { begun: new Set(fold.begun.keys()), ended };
}

function countThatFits(jobs: readonly (readonly KnownRun[])[], bounds: HistoryBounds): number {
  let count = bounds.runsPerJobMax;
  const size = () => jobs.flatMap((known) => known.slice(-count)).reduce((sum, { bytes }) => sum + bytes, 0);
  while (count > 1 && size() > bounds.bytesMax) count = Math.floor(count / 2);
  return count;
}

interface Copying {
  readonly from: FileHandle;
  readonly to: FileHandle;
  readonly chosen: ChosenRuns;
  readonly unreadablePath: string;
}

async function copyLines({ from, to, chosen, unreadablePath }: Copying): Promise<void> {
  const unreadable: Buffer[] = [];
  for await (const { record, bytes } of historyLines(from)) {
    const line = Buffer.concat([bytes, newline]);
    if (record === null) unreadable.push(line);
    else if (isChosen(record, chosen)) await to.writeFile(line);
  }
  if (unreadable.length > 0) await keepAside(unreadablePath, Buffer.concat(unreadable));
}

function isChosen(record: HistoryRecord, { begun, ended }: ChosenRuns): boolean {
  return 'ended' in record ? ended.has(record.ended.run) : begun.has(record.began.run);
}

async function keepAside(path: string, bytes: Buffer): Promise<void> {
  const file = await open(path, 'a', 0o600);
  try {
    const { size } = await file.stat();
    await file.writeFile(bytes.subarray(0, Math.max(0, unreadableBytesMax - size)));
    await file.datasync();
  } finally {
    await file.close();
  }
}
