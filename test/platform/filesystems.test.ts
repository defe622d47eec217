import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { directoryHandler } from '../../src/handlers/directory/handler.ts';
import { directorySink } from '../../src/handlers/directory/sink.ts';
import { takeSnapshot } from '../../src/handlers/directory/snapshot.ts';
import { removeTree } from '../../src/handlers/directory/tree.ts';
import { contextWith, describeTree, failure, filesystem } from '../support/directory-fixture.ts';
import { describePlatform, missingPrograms } from '../support/platform.ts';
import { seededBytes } from '../support/recorded.ts';

/** Why nothing can be mounted here, or null. Root in a container often may not. */
function whyNoMount(): string | null {
  if (process.getuid!() !== 0) return 'this is not root, who can mount';
  const directory = mkdtempSync(join(tmpdir(), 'snapferry-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', directory], { stdio: 'pipe' });
    execFileSync('umount', [directory]);
    return null;
  } catch (error) {
    return `mounting is not permitted here: ${String(error)}`;
  } finally {
    rmdirSync(directory);
  }
}

function whyNoBtrfs(): string | null {
  const isKnown = /\bbtrfs$/m.test(readFileSync('/proc/filesystems', 'utf8'));
  if (!isKnown || !existsSync('/dev/loop-control'))
    return 'the kernel lacks btrfs or loop devices (modprobe btrfs loop)';
  return missingPrograms(['mkfs.btrfs'], 'btrfs-progs');
}

const noMount = whyNoMount();

let root: string;
let mounted: string[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'snapferry-filesystems-'));
  mounted = [];
});
afterEach(() => {
  for (const directory of mounted) execFileSync('umount', [directory]);
  rmSync(root, { recursive: true, force: true });
});

/** Mounts a filesystem, until the end of the test. */
function mount(name: string, args: readonly string[]): string {
  const directory = join(root, name);
  mkdirSync(directory);
  execFileSync('mount', [...args, directory], { stdio: ['ignore', 'ignore', 'inherit'] });
  mounted.push(directory);
  return directory;
}

function usedBytes(directory: string): number {
  execFileSync('sync', ['-f', directory]);
  const { blocks, bfree, bsize } = statfsSync(directory);
  return (blocks - bfree) * bsize;
}

describePlatform('on btrfs', noMount ?? whyNoBtrfs(), () => {
  const contentBytes = 64 * 1024 * 1024;

  test('a snapshot shares its blocks with the live tree until they change', async () => {
    const image = join(root, 'image');
    writeFileSync(image, '');
    truncateSync(image, 512 * 1024 * 1024);
    execFileSync('mkfs.btrfs', ['-q', image], { env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` } });
    const volume = mount('volume', ['-o', 'loop', '-t', 'btrfs', image]);
    const live = join(volume, 'live');
    mkdirSync(live);
    writeFileSync(join(live, 'large'), seededBytes('large', contentBytes));
    const before = usedBytes(volume);
    await takeSnapshot(live, { name: 'one' });
    writeFileSync(join(live, 'large'), 'a little', { flag: 'a' });
    await takeSnapshot(live, { name: 'two' });
    expect(usedBytes(volume) - before).toBeLessThan(contentBytes / 4);
    const snapshots = join(live, '.snapferry/snapshots');
    expect(statSync(join(snapshots, 'one/large')).size).toBe(contentBytes);
    expect(describeTree(join(snapshots, 'two'))['large']).toBe(describeTree(live, ['.snapferry'])['large']);
  });
});

describePlatform('on a full disk', noMount, () => {
  const diskBytes = 24 * 1024 * 1024;

  function smallDisk(): string {
    return mount('disk', ['-t', 'tmpfs', '-o', `size=${diskBytes}`, 'tmpfs']);
  }

  test('a snapshot that does not fit fails, and leaves the store as it was and the disk as full as it was', async () => {
    const live = smallDisk();
    writeFileSync(join(live, 'small'), 'small');
    await takeSnapshot(live, { name: 'one' });
    writeFileSync(join(live, 'large'), seededBytes('large', (diskBytes * 2) / 3));
    const before = usedBytes(live);
    const { code, message } = await failure(takeSnapshot(live, { name: 'two' }));
    expect(code).toBe('SOURCE_FAILED');
    expect(message).toMatch(/[Nn]o space left/);
    const handler = directoryHandler({ datasets: [{ path: filesystem, directory: live }] });
    const versions = await handler.filesystemVersions({ filesystem }, contextWith());
    expect(versions.map(({ name }) => name)).toEqual(['one']);
    expect(usedBytes(live) - before).toBeLessThan(1024 * 1024);
    rmSync(join(live, 'large'));
    writeFileSync(join(live, 'fits'), 'fits');
    expect(await takeSnapshot(live, { name: 'two' })).toMatchObject({ isTaken: true });
  });

  test('a receive that does not fit fails, and goes on when there is room', async () => {
    const live = join(root, 'live');
    mkdirSync(live);
    for (let index = 0; index < 16; index++) {
      writeFileSync(join(live, String(index)), seededBytes(String(index), diskBytes / 24));
    }
    const version = (await takeSnapshot(live, { name: 'one' })).version!;
    const disk = smallDisk();
    const ballast = join(disk, 'ballast');
    writeFileSync(ballast, Buffer.alloc(diskBytes / 2, 1));
    const copy = join(disk, 'copy');
    const sink = directorySink({ locate: () => copy });
    const { code, message } = await failure(transfer(live, sink, version));
    expect(message).toMatch(/[Nn]o space left/);
    expect(code).toBe('INTERNAL');
    expect(await sink.filesystemVersions(filesystem)).toEqual([]);
    rmSync(ballast);
    const token = (await sink.resumeState(filesystem))?.token;
    await transfer(live, sink, version, token);
    expect(describeTree(join(copy, 'snapshots/one'))).toEqual(describeTree(join(live, '.snapferry/snapshots/one')));
    await removeTree(copy);
  });

  async function transfer(
    live: string,
    sink: ReturnType<typeof directorySink>,
    version: FilesystemVersion,
    resumeToken?: string,
  ): Promise<void> {
    const handler = directoryHandler({ datasets: [{ path: filesystem, directory: live }] });
    const { bytes, format, resumed } = await handler.initialTransfer(
      { filesystem, version, resumeToken },
      contextWith(),
    );
    await sink.receive({ filesystem, from: null, to: version, format, resumed }, bytes);
  }
});
