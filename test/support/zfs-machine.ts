import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FakeZfs } from './fake-zfs.ts';
import { runProgram } from './run-program.ts';
import type { ProgramResult } from './run-program.ts';

/** A machine with the pools `tank` and `backup`, and snapferry. */
export interface ZfsMachine {
  readonly fake: FakeZfs;
  readonly work: string;
  /** With a `zfs`, a `zpool` and a `sudo` that are not the machine's own. */
  readonly env: Readonly<Record<string, string>>;
  readonly run: (...args: string[]) => Promise<ProgramResult>;
  /** Changes what a dataset holds. */
  readonly write: (dataset: string, text: string) => void;
  /** The snapshots of a dataset with what they hold: `one=first two=second`. */
  readonly history: (dataset: string) => string;
  readonly close: () => Promise<void>;
}

/** @param datasets to be made, below the pools, parents first */
export async function zfsMachine(datasets: readonly string[]): Promise<ZfsMachine> {
  const fake = await FakeZfs.start();
  for (const name of ['tank', 'backup', ...datasets]) fake.pool.create(name);
  fake.intercept = (args) =>
    args.join(' ') === 'list -H -o name -d 0' ? { status: 0, stdout: 'backup\ntank\n' } : undefined;
  const work = await mkdtemp(join(tmpdir(), 'snapferry-zfs-machine-'));
  const script = async (name: string, text: string): Promise<void> => {
    await writeFile(join(fake.directory, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(fake.directory, name), 0o755);
  };
  await script('zpool', `[ "$1" = sync ] && echo "$*" >> ${work}/zpool.log`);
  await script('sudo', `echo "$*" >> ${work}/sudo.log\n[ "$1" = -n ] && shift && exec "$@"`);
  const env = { PATH: `${fake.directory}:${process.env['PATH'] ?? '/usr/bin:/bin'}` };
  return {
    fake,
    work,
    env,
    run: (...args) => runProgram(args, { cwd: work, env }),
    write(dataset, text) {
      const found = fake.pool.get(dataset);
      found.content = Buffer.from(text);
      found.isModified = true;
    },
    history: (dataset) =>
      (fake.pool.datasets.get(dataset)?.snapshots ?? [])
        .map(({ name, content }) => `${name}=${content.toString()}`)
        .join(' '),
    async close() {
      await fake.stop();
      await rm(work, { recursive: true, force: true });
    },
  };
}
