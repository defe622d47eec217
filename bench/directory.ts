import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { profileArguments } from './ends/end-options.ts';
import type { DirectoryBackupMeasurement, DirectoryBackupOptions } from './ends/directory-backup.ts';
import { ownSeconds } from './foreign-work.ts';
import type { Comparison, Contender, Contest, Figure, Question, Sample, Settings } from './question.ts';
import { runProgram } from './run-program.ts';
import { runTool, toolVersion } from './run-tool.ts';
import { changeSampleTree, writeSampleTree, type SampleTree } from './sample-tree.ts';

const figures: readonly Figure[] = [
  { name: 'first s', better: 'less', digits: 2 },
  { name: 'CPU s', better: 'less', digits: 2 },
  { name: 'of it snapshot', better: 'less', digits: 2 },
  { name: 'pull', better: 'less', digits: 2 },
  { name: 'second s', better: 'less', digits: 2 },
  { name: 'its CPU s', better: 'less', digits: 2 },
  { name: 'its snapshot', better: 'less', digits: 2 },
  { name: 'its pull', better: 'less', digits: 2 },
];

const ours = 'snapferry snapshot and pull';
const rsync = 'rsync -a --link-dest';
const tar = 'tar | tar';

/** Where a contender's copy lies, and of which parts its time was made, if it knows. */
interface Backup {
  readonly copy: string;
  readonly parts: DirectoryBackupMeasurement | null;
}

/** Makes the backup with that number, 1 or 2, of `tree` below the folder `target`. */
type MakeBackup = (tree: SampleTree, target: string, number: 1 | 2) => Promise<Backup>;

/** A backup of a directory from one place on a disk to another, the first and one after a small change. */
export const directory: Question = {
  name: 'directory',
  ask: async (settings) => ({ contests: [await contest(settings)] }),
};

async function contest(settings: Settings): Promise<Contest> {
  const { quick, workFolder } = settings;
  const tree: SampleTree = {
    folder: join(workFolder, 'source'),
    smallFiles: quick ? 200 : 20_000,
    bigFileBytes: (quick ? 1 : 1024) * 1024 * 1024,
  };
  await writeSampleTree(tree);
  const rsyncVersion = await toolVersion('rsync');
  const makers: [string, MakeBackup][] = [
    [ours, (from, target, number) => backUpWithUs(settings, from, target, number)],
    ...(rsyncVersion === null ? [] : [[rsync, backUpWithRsync] as [string, MakeBackup]]),
    [tar, backUpWithTar],
  ];
  let turn = 0;
  return {
    subject: 'backup of a directory, from disk to the same disk',
    extent: `${tree.smallFiles} files of 2 KiB and one of ${tree.bigFileBytes / 1024 / 1024} MiB`,
    figures,
    costFigure: null,
    notes: [
      'second: after one of a hundred small files was given other contents; tar copies everything again',
      'each backup is followed by `sync -f`, which is part of its time; the source is in the page cache',
      'snapferry also keeps the snapshot beside the source, hashes every file, and keeps extended attributes, ACLs and hard links',
      `${rsyncVersion ?? 'rsync is not installed, so it is missing here'} · ${(await toolVersion('tar')) ?? ''}`,
    ],
    contenders: makers.map(([name, make]): Contender => ({ name, run: () => measure(settings, tree, make, turn++) })),
    comparisons: rsyncVersion === null ? [] : comparisons(),
    // Writing to the disk is work the kernel does in nobody's name.
    discardNoisyRounds: false,
  };
}

function comparisons(): Comparison[] {
  const besides = (against: string, mustReach: number | null): Comparison[] =>
    ['first s', 'second s'].map((figure) => ({ contender: ours, against, figure, mustReach }));
  return [...besides(rsync, 1), ...besides(tar, null)];
}

async function measure(settings: Settings, tree: SampleTree, make: MakeBackup, turn: number): Promise<Sample> {
  const target = await mkdtemp(join(settings.workFolder, 'target-'));
  try {
    const first = await timed(tree, target, () => make(tree, target, 1));
    await changeSampleTree(tree, turn);
    const second = await timed(tree, target, () => make(tree, target, 2));
    await runTool('diff', '--recursive', '--no-dereference', '--exclude=.snapferry', tree.folder, second.backup.copy);
    return sampleOf(first, second);
  } finally {
    // Not removed before the end: for minutes ext4 passes over every inode that was just freed, one by one, for each new file,
    // which makes a tree of 20,000 files take twenty times as long.
    const store = join(tree.folder, '.snapferry');
    if (existsSync(store)) await rename(store, join(target, 'store'));
  }
}

/** How long a backup took from a clean disk until it was safe. */
interface TimedBackup {
  readonly backup: Backup;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

async function timed(tree: SampleTree, target: string, make: () => Promise<Backup>): Promise<TimedBackup> {
  await runTool('sync', '--file-system', tree.folder);
  const cpuBefore = ownSeconds() ?? 0;
  const begun = performance.now();
  const backup = await make();
  await runTool('sync', '--file-system', target);
  return { backup, seconds: (performance.now() - begun) / 1000, cpuSeconds: (ownSeconds() ?? 0) - cpuBefore };
}

function sampleOf(first: TimedBackup, second: TimedBackup): Sample {
  const sample: Record<string, number> = {
    'first s': first.seconds,
    'CPU s': first.cpuSeconds,
    'second s': second.seconds,
    'its CPU s': second.cpuSeconds,
  };
  const [firstParts, secondParts] = [first.backup.parts, second.backup.parts];
  if (firstParts === null || secondParts === null) return sample;
  return {
    ...sample,
    'of it snapshot': firstParts.snapshotSeconds,
    pull: firstParts.pullSeconds,
    'its snapshot': secondParts.snapshotSeconds,
    'its pull': secondParts.pullSeconds,
  };
}

async function backUpWithUs(settings: Settings, tree: SampleTree, target: string, number: 1 | 2): Promise<Backup> {
  const store = join(target, 'copy');
  const argument: DirectoryBackupOptions = { source: tree.folder, target: store };
  const profile = profileArguments(settings.profileFolder, `backup-${number}`);
  const parts = (await runProgram(
    settings,
    'ends/directory-backup.js',
    argument,
    profile,
  )) as DirectoryBackupMeasurement;
  return { copy: join(store, 'snapshots', parts.snapshot), parts };
}

async function backUpWithRsync(tree: SampleTree, target: string, number: 1 | 2): Promise<Backup> {
  const copy = join(target, String(number));
  await runTool('rsync', '-a', ...(number === 1 ? [] : ['--link-dest=../1']), `${tree.folder}/`, `${copy}/`);
  return { copy, parts: null };
}

async function backUpWithTar(tree: SampleTree, target: string, number: 1 | 2): Promise<Backup> {
  const copy = join(target, String(number));
  await mkdir(copy);
  const script = 'tar -C "$1" -c . | tar -C "$2" -x';
  await runTool('bash', '-o', 'pipefail', '-c', script, 'tar', tree.folder, copy);
  return { copy, parts: null };
}
