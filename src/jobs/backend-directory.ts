import { readdir, realpath } from 'node:fs/promises';
import { checkDatasetPath, formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { directoryDestroyer } from '../handlers/directory/destroy.ts';
import { directoryHandler } from '../handlers/directory/handler.ts';
import { decodeResumeToken } from '../handlers/directory/resume-token.ts';
import { directorySink } from '../handlers/directory/sink.ts';
import { takeSnapshot } from '../handlers/directory/snapshot.ts';
import { findStore } from '../handlers/directory/store-layout.ts';
import type { JobBackend, JobBackendOptions, SnapshotOutcome, SnapshotsRequest } from './job-backend.ts';

/** Jobs on plain directories. */
export function directoryBackend({ logger, clock }: JobBackendOptions): JobBackend {
  return {
    backend: 'directory',
    takesAllAtOnce: false,
    formatName: directoryOf,
    parseName: (name) => name.split('/').filter((component) => component !== ''),
    checkDataset: checkDatasetPath,
    readResumeToken: readDirectoryToken,
    async source({ selection: { filter } }) {
      const datasets = await Promise.all(
        filter.roots.map(async ({ path }) => ({ path, directory: await withoutSymlinks(directoryOf(path)) })),
      );
      return directoryHandler({ datasets: datasets.filter(({ path }) => filter.matches(path)), logger });
    },
    sink: () => directorySink({ locate: directoryOf, logger }),
    async takeSnapshots(request) {
      const outcomes: SnapshotOutcome[] = [];
      for (const dataset of request.datasets) {
        outcomes.push(await takeOne(dataset, request, { logger, now: () => new Date(clock.nowMs()) }));
      }
      return outcomes;
    },
    destroyer: ({ dataset }) => directoryDestroyer(directoryOf(dataset), { logger }),
    copiesBelow: (place, signal) => copiesBelow(place, signal),
  };
}

/** What a resume token of a directory says. Its sender never leaves the requested directory, whatever the token says. */
export function readDirectoryToken(token: string): ReturnType<JobBackend['readResumeToken']> {
  const { from, to } = decodeResumeToken(token);
  return { filesystem: null, fromGuid: from, toGuid: to };
}

function directoryOf(dataset: DatasetPath): string {
  return `/${formatDatasetPath(dataset)}`;
}

/** What is not there stays as it is, and is heard of when it is read. */
async function withoutSymlinks(directory: string): Promise<string> {
  return realpath(directory).catch(() => directory);
}

async function takeOne(
  dataset: DatasetPath,
  { name, exclude, dryRun, signal, onProgress }: SnapshotsRequest,
  environment: Pick<JobBackendOptions, 'logger'> & { readonly now: () => Date },
): Promise<SnapshotOutcome> {
  try {
    const directory = await withoutSymlinks(directoryOf(dataset));
    const options = { name, exclude, force: true, dryRun, signal, onProgress, ...environment };
    const { version, notices, missing } = await takeSnapshot(directory, options);
    return { dataset, version, notices, missing, error: null };
  } catch (error) {
    return { dataset, version: null, notices: [], missing: [], error: toSnapferryError(error, 'SOURCE_FAILED') };
  }
}

/** Copies, found by what is in them. What lies inside a store is never looked at. */
async function copiesBelow(place: DatasetPath, signal: AbortSignal): Promise<DatasetPath[]> {
  const copies: DatasetPath[] = [];
  const visit = async (path: DatasetPath): Promise<void> => {
    if (signal.aborted)
      throw new SnapferryError('CANCELLED', `listing the copies in ${directoryOf(place)} was cancelled`);
    const directory = directoryOf(path);
    const store = path === place ? null : await findStore(directory);
    if (store?.kind === 'copy') copies.push(path);
    if (store !== null) return;
    for (const name of await subdirectories(directory)) await visit([...path, name]);
  };
  await visit(place);
  return copies;
}

async function subdirectories(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw toSnapferryError(error, 'SOURCE_FAILED', `listing the copies in ${directory}`);
  }
}
