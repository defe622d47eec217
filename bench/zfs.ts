import { mkdir, open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findProgram } from '../test/support/platform.ts';
import type { ZfsCopyMeasurement, ZfsCopyOptions } from './ends/zfs-copy.ts';
import { ownSeconds } from './foreign-work.ts';
import type { Contest, Figure, Question, Sample, Settings } from './question.ts';
import { runProgram } from './run-program.ts';
import { runTool } from './run-tool.ts';

const mebibyte = 1024 * 1024;
const figures: readonly Figure[] = [
  { name: 's', better: 'less', digits: 2 },
  { name: 'CPU s', better: 'less', digits: 2 },
];

const pipe = 'zfs send | zfs recv';
const overStdio = 'over stdio';
const overUnix = 'over a unix socket';

/** A real `zfs send` through the protocol into a real `zfs recv`, against a pipe between the two. */
export const zfs: Question = {
  name: 'zfs',
  missing:
    process.getuid?.() !== 0 || findProgram('zpool') === undefined
      ? 'no pool can be made here: it takes root, ZFS and its kernel module (Debian: zfsutils-linux)'
      : null,
  async ask(settings) {
    const pools = ['source', 'target'].map((purpose) => `snapferry_bench_${process.pid}_${purpose}`);
    for (const pool of pools) await makePool(settings, pool);
    const [source = '', target = ''] = pools;
    const bytes = (settings.quick ? 16 : 1024) * mebibyte;
    await fill(join(settings.workFolder, source, 'mnt', 'file'), bytes);
    await runTool('zfs', 'snapshot', `${source}@one`);
    return {
      contests: [contest(settings, { source, target, bytes })],
      release: async () => {
        for (const pool of pools) await runTool('zpool', 'destroy', '-f', pool);
      },
    };
  },
};

async function makePool({ workFolder }: Settings, pool: string): Promise<void> {
  const folder = join(workFolder, pool);
  await mkdir(join(folder, 'mnt'), { recursive: true });
  const image = join(folder, 'image');
  await writeFile(image, '');
  await truncate(image, 3 * 1024 * mebibyte);
  await runTool('zpool', 'create', '-O', 'compression=lz4', '-O', 'atime=off', '-m', join(folder, 'mnt'), pool, image);
}

/** Compressible, so that a machine with little memory can hold it twice; on the way it is sent as it is. */
async function fill(path: string, bytes: number): Promise<void> {
  const block = Buffer.alloc(mebibyte);
  const file = await open(path, 'wx');
  try {
    for (let written = 0; written < bytes; written += block.length) {
      for (let at = 0; at < block.length; at += 64) block.writeDoubleLE(Math.random(), at);
      await file.writeFile(block);
    }
  } finally {
    await file.close();
  }
}

interface Pools {
  readonly source: string;
  readonly target: string;
  readonly bytes: number;
}

function contest(settings: Settings, pools: Pools): Contest {
  const copied =
    (copy: (target: string) => Promise<number>): (() => Promise<Sample>) =>
    async () => {
      const target = `${pools.target}/copy`;
      const before = ownSeconds() ?? 0;
      const seconds = await copy(target);
      const cpuSeconds = (ownSeconds() ?? 0) - before;
      await runTool('zfs', 'destroy', '-r', target);
      return { s: seconds, 'CPU s': cpuSeconds };
    };
  const ours = (carrier: ZfsCopyOptions['carrier']) =>
    copied(async (target) => {
      const socketPath = join(settings.workFolder, `socket-${process.pid}`);
      const argument: ZfsCopyOptions = { role: 'asking', carrier, socketPath, source: pools.source, target };
      return ((await runProgram(settings, 'ends/zfs-copy.js', argument)) as ZfsCopyMeasurement).seconds;
    });
  return {
    subject: 'a ZFS snapshot from one pool to another on this machine',
    extent: `${pools.bytes / mebibyte} MiB`,
    figures,
    costFigure: 'CPU s',
    notes: [
      'ours: from asking for the transfer until the copy is durable and looked at, with everything that is asked of zfs for that',
      'CPU s: of the processes; what the kernel does in nobody’s name is left out',
    ],
    contenders: [
      {
        name: pipe,
        run: copied(async (target) => {
          const begun = performance.now();
          const script = 'zfs send "$1" | zfs recv -s -u -o readonly=on "$2"';
          await runTool('bash', '-o', 'pipefail', '-c', script, 'bash', `${pools.source}@one`, `${target}@one`);
          return (performance.now() - begun) / 1000;
        }),
      },
      { name: overStdio, run: ours('stdio') },
      { name: overUnix, run: ours('unix') },
    ],
    comparisons: [overStdio, overUnix].map((contender) => ({ contender, against: pipe, figure: 's', mustReach: 1.15 })),
    // Writing to the pool is work the kernel does in nobody's name.
    discardNoisyRounds: false,
  };
}
