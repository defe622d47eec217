import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { whyNoBtrfs } from '../test/support/btrfs-volume.ts';
import type { BtrfsCopyMeasurement, BtrfsCopyOptions } from './ends/btrfs-copy.ts';
import { ownSeconds } from './foreign-work.ts';
import type { Contest, Figure, Question, Sample, Settings } from './question.ts';
import { runProgram } from './run-program.ts';
import { runTool } from './run-tool.ts';

const mebibyte = 1024 * 1024;
const figures: readonly Figure[] = [
  { name: 's', better: 'less', digits: 2 },
  { name: 'CPU s', better: 'less', digits: 2 },
];

const pipe = 'btrfs send | btrfs receive';
const overStdio = 'over stdio';
const overUnix = 'over a unix socket';

/** A real `btrfs send` through the protocol into a real `btrfs receive`, against a pipe between the two. */
export const btrfs: Question = {
  name: 'btrfs',
  missing: whyNoBtrfs(),
  async ask(settings) {
    const bytes = (settings.quick ? 16 : 1024) * mebibyte;
    const volumes: Volume[] = [];
    const release = async (): Promise<void> => {
      for (const { mountPoint } of volumes) await runTool('umount', mountPoint);
    };
    try {
      for (const purpose of ['source', 'target']) volumes.push(await makeVolume(settings, purpose));
      const [source, target] = volumes.map(({ mountPoint }) => mountPoint) as [string, string];
      const live = join(source, 'data');
      await runTool('btrfs', 'subvolume', 'create', live);
      await runTool(
        'dd',
        'if=/dev/urandom',
        `of=${join(live, 'file')}`,
        'bs=1M',
        `count=${bytes / mebibyte}`,
        'status=none',
      );
      await runTool('btrfs', 'subvolume', 'snapshot', '-r', live, `${live}@one`);
      await runTool('sync', '-f', source);
      return { contests: [contest(settings, { live, target, bytes })], release };
    } catch (error) {
      await release();
      throw error;
    }
  },
};

interface Volume {
  readonly mountPoint: string;
}

async function makeVolume({ workFolder }: Settings, purpose: string): Promise<Volume> {
  const mountPoint = join(workFolder, purpose);
  const image = `${mountPoint}.btrfs`;
  await mkdir(mountPoint);
  await writeFile(image, '');
  await truncate(image, 4 * 1024 * mebibyte);
  await runTool('mkfs.btrfs', '-q', image);
  await runTool('mount', '-o', 'loop,noatime', image, mountPoint);
  return { mountPoint };
}

interface Places {
  /** Path of the subvolume; its snapshot is `one`. */
  readonly live: string;
  /** Folder of the copies. */
  readonly target: string;
  readonly bytes: number;
}

function contest(settings: Settings, { live, target, bytes }: Places): Contest {
  const copied =
    (copy: () => Promise<number>): (() => Promise<Sample>) =>
    async () => {
      const before = ownSeconds() ?? 0;
      const seconds = await copy();
      const cpuSeconds = (ownSeconds() ?? 0) - before;
      await runTool('cmp', join(live, 'file'), join(target, 'data@one', 'file'));
      await runTool('btrfs', 'subvolume', 'delete', '-c', join(target, 'data@one'));
      await runTool('btrfs', 'subvolume', 'sync', target);
      return { s: seconds, 'CPU s': cpuSeconds };
    };
  const ours = (carrier: BtrfsCopyOptions['carrier']) =>
    copied(async () => {
      const socketPath = join(settings.workFolder, `socket-${process.pid}`);
      const copy = join(target, 'data');
      const argument: BtrfsCopyOptions = { role: 'asking', carrier, socketPath, source: live, target: copy };
      return ((await runProgram(settings, 'ends/btrfs-copy.js', argument)) as BtrfsCopyMeasurement).seconds;
    });
  return {
    subject: 'a btrfs snapshot from one file system to another on this machine',
    extent: `${bytes / mebibyte} MiB`,
    figures,
    costFigure: 'CPU s',
    notes: [
      'ours: from asking for the transfer until the copy is checked, on disk and named, with everything that is asked of btrfs for that',
      'the pipe is followed by `btrfs filesystem sync`, which is part of its time: before that its files are empty after a power cut',
      'CPU s: of the processes; what the kernel does in nobody’s name is left out',
    ],
    contenders: [
      {
        name: pipe,
        run: copied(async () => {
          const begun = performance.now();
          const script = 'btrfs send -q -- "$1" | btrfs receive -q -- "$2" && btrfs filesystem sync -- "$2"';
          await runTool('bash', '-o', 'pipefail', '-c', script, 'bash', `${live}@one`, target);
          return (performance.now() - begun) / 1000;
        }),
      },
      { name: overStdio, run: ours('stdio') },
      { name: overUnix, run: ours('unix') },
    ],
    comparisons: [overStdio, overUnix].map((contender) => ({ contender, against: pipe, figure: 's', mustReach: 1.15 })),
    // Writing to the disk is work the kernel does in nobody's name.
    discardNoisyRounds: false,
  };
}
