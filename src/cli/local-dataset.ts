import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import ignore from 'ignore';
import { checkDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { temporarySuffix } from '../handlers/directory/store-files.ts';
import { findStore } from '../handlers/directory/store-layout.ts';
import { UsageError } from './usage-error.ts';

/** A directory on this machine as a dataset. */
export interface LocalDataset {
  /** The components of its absolute path. */
  readonly path: DatasetPath;
  /** Absolute, without symlinks as far as it exists. */
  readonly directory: string;
}

/**
 * The dataset of a local path; it need not exist.
 * @throws UsageError for a path that cannot be one: `/`, one with control characters, or one inside a store
 */
export async function localDataset(text: string): Promise<LocalDataset> {
  const directory = await resolveExisting(resolve(text));
  if (directory === '/') throw new UsageError('/ is no dataset; name the directories below it that matter');
  const path = directory.slice(1).split('/');
  try {
    checkDatasetPath(path);
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
  await checkOutsideStores(directory);
  return { path, directory };
}

async function resolveExisting(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || path === '/') return path;
    return join(await resolveExisting(dirname(path)), basename(path));
  }
}

/**
 * Where files may be restored to: not among the snapshots of a store, nor into a copy.
 * @throws UsageError
 */
export async function restoreTarget(text: string): Promise<string> {
  const directory = await resolveExisting(resolve(text));
  await checkOutsideStores(directory);
  if ((await findStore(directory))?.kind === 'copy') {
    throw new UsageError(
      `${directory} is a copy made by snapferry, which only receives; restore into another directory`,
    );
  }
  return directory;
}

async function checkOutsideStores(directory: string): Promise<void> {
  const store = await enclosingStore(directory);
  if (store === null) return;
  throw new UsageError(`${directory} lies inside the snapshots of ${store}, which nobody may change; name ${store}`);
}

/** The directory whose store `directory` lies in, or null. A store itself lies in none. */
async function enclosingStore(directory: string): Promise<string | null> {
  let below = directory;
  for (let at = dirname(below); at !== below; below = at, at = dirname(at)) {
    if (basename(below) === '.snapferry') return at;
    const isStore = await stat(join(at, 'snapferry.json')).catch(() => null);
    if (isStore !== null) return at;
  }
  return null;
}

/**
 * Refuses a target that could not be received into, before anything is done for its sake: it must be absent, empty, or
 * a copy from an earlier run.
 * @throws UsageError
 */
export async function checkTarget(directory: string): Promise<void> {
  const marker = await findStore(directory);
  if (marker?.kind === 'copy') return;
  if (marker !== null) {
    throw new UsageError(
      `the target ${directory} is a live directory with snapshots of its own; give another directory`,
    );
  }
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new UsageError(`the target ${directory} cannot be used: ${(error as Error).message}`, { cause: error });
  }
  // What a creation that was killed may leave is cleared by the next one.
  const inTheWay = names.filter((name) => !name.endsWith(temporarySuffix));
  if (inTheWay.length === 0) return;
  const first = JSON.stringify(inTheWay[0]);
  throw new UsageError(
    `the target ${directory} is neither empty nor a copy made by snapferry (it holds ${first}); give another directory`,
  );
}

/**
 * Refuses to store a directory inside itself, which would grow with every run, unless the exclude patterns leave the
 * target out.
 * @throws UsageError
 */
export function checkApart(source: string, target: string, exclude: readonly string[]): void {
  if (source === target) throw new UsageError(`source and target are the same directory: ${source}`);
  const inner = relative(source, target);
  if (inner === '..' || inner.startsWith('../')) return;
  if (
    ignore({ allowRelativePaths: true })
      .add([...exclude])
      .ignores(`${inner}/`)
  )
    return;
  throw new UsageError(
    `the target ${target} lies inside the source ${source}, so every run would store the copies made before; ` +
      `choose another target, or add --exclude '/${inner}/'`,
  );
}
