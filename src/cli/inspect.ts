import { SnapferryError } from '../errors.ts';
import type { SnapshotHeader } from '../handlers/directory/manifest.ts';
import { takeSnapshot } from '../handlers/directory/snapshot.ts';
import { openStore } from '../handlers/directory/store.ts';
import { verifySnapshot } from '../handlers/directory/verify.ts';
import type { FilesystemVersion } from '../dataset.ts';
import { versionInDocument } from './documents.ts';
import type { ListDocument, SnapshotDocument, VerifyDocument } from './documents.ts';
import { localDataset } from './local-dataset.ts';
import { showProgress } from './show-progress.ts';
import type { SnapshotCommand } from './remote-command.ts';
import type { Run } from './run.ts';
import { snapshotOptions } from './snapshotting.ts';

/** Lists the versions of a local directory. */
export async function listLocal(path: string): Promise<ListDocument> {
  const { directory } = await localDataset(path);
  const store = await openStore(directory);
  const versions = await store.versions();
  return {
    command: 'list',
    location: path,
    kind: store.kind,
    versions: await Promise.all(
      versions.map(async (version) => {
        const header = await headerOrNull(() => store.headerOf(version));
        return {
          ...versionInDocument(version),
          entries: header?.entries ?? null,
          bytes: header?.bytes ?? null,
          missing: header?.missing.length ?? null,
        };
      }),
    ),
  };
}

/** One that was removed while the list was made has no size any more. */
async function headerOrNull(read: () => Promise<SnapshotHeader>): Promise<SnapshotHeader | null> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'VERSION_NOT_FOUND') return null;
    throw error;
  }
}

/** Takes a snapshot of a local directory if anything has changed. */
export async function snapshotLocal(
  { terminal, logger, signal }: Run,
  { path, choices, dryRun, force }: Pick<SnapshotCommand, 'path' | 'choices' | 'dryRun' | 'force'>,
): Promise<SnapshotDocument> {
  const { directory } = await localDataset(path);
  const result = await takeSnapshot(directory, {
    ...snapshotOptions(choices),
    dryRun,
    force,
    signal,
    logger,
    onProgress: (progress) => showProgress(terminal, progress),
  });
  return {
    command: 'snapshot',
    location: path,
    dryRun,
    taken: result.isTaken,
    snapshot: result.version && versionInDocument(result.version),
    ...result.delta,
    notices: [...result.notices],
    missing: [...result.missing],
  };
}

/** A snapshot of a local directory; null means the newest. */
export interface LocalSnapshot {
  readonly path: string;
  readonly snapshot: string | null;
}

/** Compares a local snapshot with its manifest. */
export async function verifyLocal(
  { terminal, signal }: Run,
  { path, snapshot }: LocalSnapshot,
): Promise<VerifyDocument> {
  const { directory } = await localDataset(path);
  const report = await verifySnapshot(directory, snapshot, {
    signal,
    onProgress: (progress) => showProgress(terminal, progress),
  });
  return {
    command: 'verify',
    location: path,
    snapshot: versionInDocument(report.version),
    ok: report.damaged.length === 0,
    files: report.files,
    bytes: report.bytes,
    damaged: [...report.damaged],
  };
}

/** The version that a location with `@SNAPSHOT` means; without, the newest snapshot. */
export function chooseSnapshot(
  versions: readonly FilesystemVersion[],
  name: string | null,
  where: string,
): FilesystemVersion {
  const snapshots = versions.filter((version) => version.type === 'snapshot');
  const found = name === null ? snapshots.at(-1) : snapshots.find((version) => version.name === name);
  if (found !== undefined) return found;
  if (snapshots.length === 0) throw new SnapferryError('VERSION_NOT_FOUND', `${where} has no snapshot`);
  const newest = snapshots.slice(-5).map((version) => `@${version.name}`);
  const which = snapshots.length > newest.length ? 'the newest are' : 'it has';
  throw new SnapferryError(
    'VERSION_NOT_FOUND',
    `${where} has no snapshot @${name ?? ''}; ${which} ${newest.join(', ')}`,
  );
}
