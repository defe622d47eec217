import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { missingPrograms } from './platform.ts';

const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;

/** Runs a program to its end; what it printed. */
export function run(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, {
    env: { PATH, LC_ALL: 'C', TZ: 'UTC0' },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Why there can be no btrfs here, or null. */
export function whyNoBtrfs(): string | null {
  if (process.getuid?.() !== 0) return 'this is not root, who can mount';
  const isKnown = /\bbtrfs$/m.test(readFileSync('/proc/filesystems', 'utf8'));
  if (!isKnown || !existsSync('/dev/loop-control'))
    return 'the kernel lacks btrfs or loop devices (modprobe btrfs loop)';
  const missing = missingPrograms(['mkfs.btrfs', 'btrfs'], 'btrfs-progs');
  if (missing !== null) return missing;
  try {
    new BtrfsVolume().remove();
    return null;
  } catch (error) {
    return `mounting is not permitted here: ${String(error)}`;
  }
}

/** A btrfs of its own in a file, until {@link BtrfsVolume.remove}. */
export class BtrfsVolume {
  /** Private folder with the image and mount points. */
  readonly root: string;
  /** Where the top of the file system is mounted. */
  readonly top: string;
  /** The file that is its disk. */
  readonly image: string;
  readonly #mounted: string[] = [];

  constructor(bytes = 512 * 1024 * 1024) {
    this.root = mkdtempSync(join(tmpdir(), 'snapferry-btrfs-'));
    this.image = join(this.root, 'image');
    this.top = join(this.root, 'top');
    writeFileSync(this.image, '');
    truncateSync(this.image, bytes);
    try {
      run('mkfs.btrfs', '-q', this.image);
      this.#mount(this.image, 'top', 'loop');
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** A folder of it that looks like a volume, so that tests do not see each other's datasets. */
  part(name: string): BtrfsVolume {
    return Object.create(this, { top: { value: join(this.top, name) } }) as BtrfsVolume;
  }

  /** Mounts a part of it at a second place. */
  mountSubvolume(subvolume: string, name: string): string {
    return this.#mount(run('findmnt', '-no', 'SOURCE', this.top).trim(), name, `subvol=${subvolume}`);
  }

  /**
   * Mounts what is on the disk at this moment, as after a power cut, in the place of the volume; or what was, if somebody has copied
   * the image to `IMAGE-copy` before.
   */
  mountAsAfterPowerCut(): void {
    const copy = `${this.image}-copy`;
    if (!existsSync(copy)) run('cp', '--sparse=always', this.image, copy);
    // Two file systems with one UUID cannot be mounted at once.
    this.unmountAll();
    this.#mount(copy, 'top', 'loop');
  }

  unmountAll(): void {
    for (const point of this.#mounted.splice(0).reverse()) {
      try {
        run('umount', point);
      } catch {
        // Something a failed test has left still holds it; it goes when that goes.
        run('umount', '-l', point);
      }
    }
  }

  #mount(source: string, name: string, options: string): string {
    const point = join(this.root, name);
    mkdirSync(point, { recursive: true });
    run('mount', '-o', `${options},noatime,nobarrier,nodiscard`, '-t', 'btrfs', source, point);
    this.#mounted.push(point);
    return point;
  }

  remove(): void {
    this.unmountAll();
    rmSync(this.root, { recursive: true, force: true });
  }
}
