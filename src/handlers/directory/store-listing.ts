import { readFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import { decodeHeader, headerPath, nextTurn, type SnapshotHeader } from './manifest.ts';
import { isErrno, temporarySuffix } from './store-files.ts';
import { removeTree } from './tree.ts';

const headersPerTurn = 200;
const abandonedAttemptsMax = 100;
const abandonedPauseMs = 50;

/** A header as it travels on the wire. */
export function toVersion(type: 'snapshot' | 'bookmark', name: string, header: SnapshotHeader): FilesystemVersion {
  return { type, name, guid: header.guid, createTXG: header.createTXG, creation: header.creation };
}

/**
 * Reads many small headers. Synchronously, in batches: thousands take a tenth of what a promise for each would.
 * @param isThere asked about a name whose header is missing: false means that it was removed meanwhile
 */
export async function readHeaders(
  directory: string,
  names: readonly string[],
  isThere: (name: string) => Promise<boolean>,
): Promise<[string, SnapshotHeader][]> {
  const headers: [string, SnapshotHeader][] = [];
  for (const [index, name] of names.entries()) {
    const path = headerPath(directory, name);
    try {
      headers.push([name, decodeHeader(readFileSync(path, 'utf8'), path)]);
    } catch (cause) {
      if (cause instanceof SnapferryError) throw cause;
      const isGone = isErrno(cause, 'ENOENT') && !(await isThere(name));
      if (!isGone) throw new SnapferryError('SOURCE_FAILED', `cannot read ${path}: ${String(cause)}`, { cause });
    }
    if (index % headersPerTurn === headersPerTurn - 1) await nextTurn();
  }
  return headers;
}

/**
 * Removes what writers that died left in a store. Only for the holder of its lock.
 */
export async function removeLitter(root: string): Promise<void> {
  const staging = join(root, 'staging');
  for (const name of await readdir(staging)) {
    if (name !== 'receive') await removeAbandoned(join(staging, name));
  }
  const manifests = join(root, 'manifests');
  const snapshots = new Set(await readdir(join(root, 'snapshots')));
  for (const file of await readdir(manifests)) {
    const name = file.replace(/\.(json|entries\.gz)$/, '');
    if (name === file || !snapshots.has(name)) await rm(join(manifests, file), { force: true });
  }
  for (const file of await readdir(root)) {
    if (file.endsWith(temporarySuffix)) await rm(join(root, file), { force: true });
  }
}

/**
 * A command of the dead writer (a `cp` of many files) may go on for a moment and fill what is being emptied. Once the
 * top is gone it can no longer do so.
 */
async function removeAbandoned(path: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await removeTree(path);
      return;
    } catch (error) {
      if (attempt === abandonedAttemptsMax) throw error;
      await sleep(abandonedPauseMs);
    }
  }
}
