import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { findProgram } from '../support/platform.ts';

/** Why the real thing cannot be tried here, or null. */
function whyNoZfs(): string | null {
  if (process.getuid!() !== 0) return 'this is not root, who can make pools';
  if (findProgram('zfs') === undefined || findProgram('zpool') === undefined) {
    return 'zfs not found; install the Debian package zfsutils-linux, and its kernel module';
  }
  try {
    execFileSync('zpool', ['list'], { stdio: 'pipe' });
    return null;
  } catch (error) {
    return `zpool list fails: ${String(error)}`;
  }
}

/**
 * A suite that needs real ZFS, with pools of its own on files. Skipped loudly where there is none; fails instead if
 * SNAPFERRY_REQUIRE_ZFS=1 says that there was meant to be.
 */
export function describeZfs(name: string, fn: () => void): void {
  const missing = whyNoZfs();
  if (missing === null) {
    describe(name, fn);
    return;
  }
  if (process.env['SNAPFERRY_REQUIRE_ZFS'] === '1') {
    describe(name, () => {
      test('this machine has ZFS', () => {
        throw new Error(`SNAPFERRY_REQUIRE_ZFS=1, but ${missing}`);
      });
    });
    return;
  }
  process.stderr.write(`\nSKIPPED ZFS suite "${name}": ${missing}\n`);
  describe.skip(`${name} (skipped: ${missing})`, fn);
}

/** Runs a program; what it prints, without the last line's end. Throws with its stderr if it fails. */
export function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trimEnd();
}

/** Runs a line of bash, for pipes. Names in it are the test's own. */
export function shell(line: string): string {
  return run('bash', '-c', `set -eo pipefail; ${line}`);
}

let poolsMade = 0;

/** A pool on a file of its own. Whoever made it calls `destroy`. */
export class TestPool {
  readonly name: string;
  /** Where its datasets are mounted, by their names below it. */
  readonly mountpoint: string;
  readonly directory: string;

  constructor(purpose: string, megabytes = 512) {
    this.directory = mkdtempSync(join(tmpdir(), 'snapferry-zfs-'));
    this.name = `snapferry_${process.pid}_${++poolsMade}_${purpose}`;
    this.mountpoint = join(this.directory, 'mnt');
    const image = join(this.directory, 'image');
    writeFileSync(image, '');
    truncateSync(image, megabytes * 1024 * 1024);
    mkdirSync(this.mountpoint);
    run('zpool', 'create', '-O', 'atime=off', '-O', 'compression=on', '-m', this.mountpoint, this.name, image);
  }

  /** Where a dataset of this pool is mounted. */
  pathOf(dataset: string): string {
    return join(this.mountpoint, ...dataset.split('/').slice(1));
  }

  destroy(): void {
    run('zpool', 'destroy', '-f', this.name);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Values of a property, one a line, of a dataset or snapshot. */
export function valueOf(property: string, name: string): string {
  return run('zfs', 'get', '-Hp', '-o', 'value', property, name);
}

/** Whether a dataset or snapshot is there. */
export function isThere(name: string): boolean {
  try {
    run('zfs', 'list', '-H', '-o', 'name', '-t', 'all', name);
    return true;
  } catch {
    return false;
  }
}

/** Full names of the snapshots of a dataset, oldest first. */
export function snapshotsOf(dataset: string): string[] {
  const list = run('zfs', 'list', '-Hp', '-o', 'name', '-s', 'createtxg', '-t', 'snapshot', '-d', '1', dataset);
  return list === '' ? [] : list.split('\n');
}
