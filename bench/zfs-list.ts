import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { runCommand } from '../src/handlers/run-command.ts';
import { zfsTool } from '../src/handlers/zfs/commands-tool.ts';
import { zfsHandler } from '../src/handlers/zfs/handler.ts';
import type { RPCHandler, RPCRequester } from '../src/rpc/interfaces.ts';
import { ByteStreamRPC } from '../src/rpc/byte-stream-rpc.ts';
import { memoryPair } from '../src/transport/memory.ts';
import type { Contest, Figure, Question, Sample, Settings } from './question.ts';

const figures: readonly Figure[] = [
  { name: 'ms', better: 'less', digits: 0 },
  { name: 'CPU ms', better: 'less', digits: 0 },
];

const filesystem = ['tank', 'home'];
const bare = 'what zfs prints, read and thrown away';
const handled = 'asked directly';
const overWire = 'asked over the wire, both ends in one process';

/** How long it takes to list the versions of a dataset with very many snapshots, beyond what zfs takes for it. */
export const zfsList: Question = {
  name: 'zfs-list',
  ask: async (settings) => ({ contests: [await contest(settings)] }),
};

async function contest(settings: Settings): Promise<Contest> {
  const snapshots = settings.quick ? 500 : 50_000;
  const program = await fakeZfs(settings.workFolder, snapshots);
  const handler = zfsHandler({ roots: [{ dataset: 'tank' }], tool: zfsTool({ argv: [program] }) });
  const check = (found: number): void => {
    if (found !== snapshots) throw new Error(`${found} versions instead of ${snapshots}`);
  };
  return {
    subject: 'FilesystemVersions of a ZFS dataset with many snapshots',
    extent: `${snapshots} snapshots, a zfs that prints them at once`,
    figures,
    costFigure: 'CPU ms',
    notes: ['a real zfs takes a second or two for 50,000 snapshots itself'],
    contenders: [
      {
        name: bare,
        run: () =>
          timed(async () =>
            check((await runCommand({ argv: [program, 'list'] })).stdout.toString().split('\n').length - 1),
          ),
      },
      { name: handled, run: () => timed(async () => check(await listDirectly(handler))) },
      { name: overWire, run: () => timed(async () => check(await listOverWire(handler))) },
    ],
    comparisons: [
      { contender: handled, against: bare, figure: 'ms', mustReach: null },
      { contender: overWire, against: handled, figure: 'ms', mustReach: null },
    ],
  };
}

/** A program that prints a list as zfs does; newest first, which is the order that is the most work. */
async function fakeZfs(folder: string, snapshots: number): Promise<string> {
  const list = join(folder, 'snapshots');
  const rows = Array.from({ length: snapshots }, (_, index) => {
    const number = snapshots - index;
    const guid = (BigInt(number) * 0x9e3779b97f4a7c15n) % 2n ** 64n;
    return `tank/home@autosnap_2026-11-21_05:00:${number}_hourly\t${guid}\t${1_000_000 + number}\t${1_795_000_000 + number}\n`;
  });
  await writeFile(list, rows.join(''));
  const program = join(folder, 'zfs');
  await writeFile(program, `#!/bin/sh\nexec cat '${list}'\n`);
  await chmod(program, 0o755);
  return program;
}

async function listDirectly(handler: RPCHandler): Promise<number> {
  const { signal } = new AbortController();
  const logger = pino({ level: 'silent' });
  const context = { clientIdentity: '', signal, logger, progress: () => undefined };
  return (await handler.filesystemVersions({ filesystem }, context)).length;
}

async function listOverWire(handler: RPCHandler): Promise<number> {
  const [near, far] = memoryPair();
  const listening = ByteStreamRPC.listen(far, { clientIdentity: '', handler });
  const client: RPCRequester = await ByteStreamRPC.connect(near);
  const { length } = await client.filesystemVersions({ filesystem });
  await client.close();
  await listening;
  return length;
}

async function timed(work: () => Promise<void>): Promise<Sample> {
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  await work();
  const ms = performance.now() - startMs;
  const { user, system } = process.cpuUsage(cpu);
  return { ms, 'CPU ms': (user + system) / 1000 };
}
