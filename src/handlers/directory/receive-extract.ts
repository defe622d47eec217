import { geteuid, getegid } from 'node:process';
import { spawnCommand } from '../run-command.ts';
import type { RunningCommand } from '../run-command.ts';
import { ArchiveWriter } from './archive-writer.ts';
import type { Entry } from './entry.ts';

/** How long tar may take to finish what it has when a transfer breaks off, in ms. */
const windDownMs = 5000;

/**
 * A `tar --extract` of ours, fed with an archive of ours. Nothing a peer has written reaches it but contents, extended
 * attributes and ACLs. Whoever starts it calls `finish` or `windDown`.
 */
export class TreeExtractor {
  readonly #tar: RunningCommand;
  readonly writer: ArchiveWriter;

  /** @param target an existing directory that nobody else may write into */
  constructor(target: string) {
    this.#tar = spawnCommand({
      argv: [
        'tar',
        '--extract',
        '--file=-',
        '--preserve-permissions',
        '--numeric-owner',
        isRoot() ? '--same-owner' : '--no-same-owner',
        '--xattrs',
        '--xattrs-include=*',
        '--acls',
        '--delay-directory-restore',
        '--warning=no-timestamp',
        '--blocking-factor=512',
      ],
      cwd: target,
      code: 'INTERNAL',
    });
    this.writer = new ArchiveWriter((bytes) => this.#tar.write(bytes));
  }

  /** Process id of tar, for whoever must wait for it should this process be killed; undefined if it did not start. */
  get pid(): number | undefined {
    return this.#tar.pid;
  }

  /**
   * Ends the archive and waits for tar.
   * @returns tar's complaints that did not keep it from succeeding, one a line
   * @throws SnapferryError `INTERNAL` with tar's own words, e.g. that the disk is full
   */
  async finish(): Promise<string[]> {
    await this.writer.finish();
    await this.#tar.endInput();
    const { stderr } = await this.#tar.finished;
    await this.#tar.stop();
    return stderr.split('\n').filter((line) => line !== '');
  }

  /** After a failure elsewhere: lets tar write out what it was given whole, but not for long. Never throws. */
  async windDown(): Promise<void> {
    const timer = setTimeout(() => void this.#tar.stop(), windDownMs);
    try {
      await this.writer.flush();
      await this.#tar.endInput();
      await this.#tar.finished;
    } catch {
      // The archive is cut, so tar complains; what had arrived is checked again before it is used.
    }
    clearTimeout(timer);
    await this.#tar.stop();
  }
}

/** Whether this process may give files away and set any mode. */
export function isRoot(): boolean {
  return geteuid?.() === 0;
}

/** Tells with which mode an entry is to be made. */
export type ModeOf = (entry: Entry) => number;

/**
 * The modes of entries in a snapshot's tree. Without root, its owner must be able to read everything, so that later
 * snapshots can be made of it, and a setuid bit must not turn into one that lends out the owner's own rights.
 */
export function modesInTree(): ModeOf {
  if (isRoot()) return ({ mode }) => mode;
  const modeOf = modesInRestore();
  return (entry) => modeOf(entry) | (entry.type === 'directory' ? 0o700 : 0o400);
}

/** The modes of restored entries: their own, but without setuid and setgid for an owner that they are not given to. */
export function modesInRestore(): ModeOf {
  if (isRoot()) return ({ mode }) => mode;
  const [uid, gid] = [geteuid?.(), getegid?.()];
  return (entry) => {
    if (entry.type === 'directory') return entry.mode;
    const foreign = (entry.uid === uid ? 0 : 0o4000) | (entry.gid === gid ? 0 : 0o2000);
    return entry.mode & ~foreign;
  };
}
