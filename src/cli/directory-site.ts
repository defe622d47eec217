import { checkDatasetPath, formatDatasetPath } from '../dataset.ts';
import { cursorPrefix, directoryHandler } from '../handlers/directory/handler.ts';
import { directorySink } from '../handlers/directory/sink.ts';
import { takeSnapshot } from '../handlers/directory/snapshot.ts';
import type { SnapshotOptions } from '../handlers/directory/snapshot.ts';
import { findStore } from '../handlers/directory/store-layout.ts';
import { openStore } from '../handlers/directory/store.ts';
import type { Store } from '../handlers/directory/store.ts';
import { readDirectoryToken } from '../jobs/backend-directory.ts';
import type { Logger } from '../rpc/interfaces.ts';
import type { SnapshotChoices } from './choices.ts';
import { formatDatasetOf } from './location.ts';
import { checkTarget, localDataset } from './local-dataset.ts';
import type { Site, SiteContext, SnapshotRequest, TakenSnapshot, Trace, TraceRequest } from './site.ts';
import { snapshotName } from './snapshot-name.ts';

/** A site of the directory backend. */
export interface DirectorySite extends Site {
  /** Absolute, without symlinks as far as it exists. */
  readonly directory: string;
}

/**
 * The site of a directory.
 * @throws UsageError as {@link localDataset} does
 */
export async function directorySite(path: string, logger: Logger): Promise<DirectorySite> {
  const { directory, path: dataset } = await localDataset(path);
  return {
    backend: 'directory',
    dataset,
    directory,
    formatName: (filesystem) => formatDatasetOf('directory', filesystem),
    checkDataset: checkDatasetPath,
    readResumeToken: readDirectoryToken,
    source: () => directoryHandler({ datasets: [{ path: dataset, directory }], logger }),
    async sourceOf({ roots }) {
      const datasets = await Promise.all(roots.map(({ path: of }) => localDataset(`/${formatDatasetPath(of)}`)));
      return directoryHandler({ datasets, logger });
    },
    sink: () => directorySink({ locate: () => directory, logger }),
    checkTarget: () => checkTarget(directory),
    async takeSnapshots(request, context) {
      // A received copy stays as it is.
      if ((await findStore(directory))?.kind === 'copy') return [];
      return [{ dataset, ...(await takeOne(directory, request, context)) }];
    },
    traces: async (request) =>
      (await cursors(await openStore(directory), request)).map((cursor) => ({ dataset, ...cursor })),
    async release(request) {
      const store = await openStore(directory);
      const found = await cursors(store, request);
      for (const { name } of found) await store.removeBookmark(name.slice(1));
      return found.map((cursor) => ({ dataset, ...cursor }));
    },
  };
}

async function cursors(store: Store, { job }: TraceRequest): Promise<Omit<Trace, 'dataset'>[]> {
  const bookmarks = (await store.versions()).filter(
    ({ type, name }) => type === 'bookmark' && name.startsWith(cursorPrefix),
  );
  return bookmarks
    .map(({ name }) => ({
      name: `#${name}`,
      kind: 'CURSOR' as const,
      identity: '',
      job: name.slice(cursorPrefix.length),
    }))
    .filter((cursor) => job === null || cursor.job === job);
}

async function takeOne(
  directory: string,
  { choices, dryRun, force }: SnapshotRequest,
  { signal, logger, progress }: SiteContext,
): Promise<Omit<TakenSnapshot, 'dataset'>> {
  const { delta, isTaken, version, notices, missing } = await takeSnapshot(directory, {
    ...snapshotOptions(choices),
    dryRun,
    force,
    signal,
    logger,
    onProgress: progress,
  });
  return { isTaken, version, notices, missing, changes: delta };
}

/** The choices of the command line as the backend takes them. */
function snapshotOptions(choices: SnapshotChoices): SnapshotOptions {
  const { exclude, name, prefix } = choices;
  return { exclude, ...((name !== null || prefix !== null) && { name: snapshotName(choices, new Date()) }) };
}
