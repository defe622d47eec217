import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { SnapferryError } from '../../errors.ts';
import { newGuid } from './guid.ts';
import { isErrno, replaceDurably, syncDirectory, temporarySuffix } from './store-files.ts';

/** `live`: the store of a directory people work in, at its `.snapferry`. `copy`: a received copy, a store itself. */
export type StoreKind = 'live' | 'copy';

/** Name of the directory inside a live directory that holds its store. */
export const liveStoreName = '.snapferry';
const markerName = 'snapferry.json';

/** Where a store is and what it says of itself. */
export interface StoreMarker {
  /** Absolute path of the store. */
  readonly root: string;
  readonly kind: StoreKind;
  /** Identity of the store itself. */
  readonly guid: bigint;
}

interface MarkerFile {
  readonly format: number;
  readonly kind: StoreKind;
  readonly guid: string;
}

/**
 * Finds the store of a directory; null when there is none.
 * @throws SnapferryError `SOURCE_FAILED` when its marker is damaged or of a newer format, `ACCESS_DENIED`
 */
export async function findStore(directory: string): Promise<StoreMarker | null> {
  const live = join(directory, liveStoreName);
  return (await readMarker(live, 'live')) ?? (await readMarker(directory, 'copy'));
}

async function readMarker(root: string, kind: StoreKind): Promise<StoreMarker | null> {
  const path = join(root, markerName);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (isErrno(cause, 'ENOENT', 'ENOTDIR')) return null;
    if (isErrno(cause, 'EACCES')) {
      throw new SnapferryError('ACCESS_DENIED', `the store ${root} belongs to another user: ${String(cause)}`, {
        cause,
      });
    }
    throw new SnapferryError('SOURCE_FAILED', `cannot read ${path}: ${String(cause)}`, { cause });
  }
  const marker = parseMarker(text);
  if (marker?.kind !== kind) {
    throw new SnapferryError('SOURCE_FAILED', `${path} is not what snapferry wrote there; is it another program's?`);
  }
  if (marker.format !== 1) {
    const what = `the store ${root} has format ${marker.format}`;
    throw new SnapferryError('SOURCE_FAILED', `${what}, which this version does not know; upgrade snapferry`);
  }
  return { root, kind, guid: BigInt(marker.guid) };
}

function parseMarker(text: string): MarkerFile | null {
  try {
    const value = JSON.parse(text) as Partial<MarkerFile> | null;
    const isMarker =
      typeof value?.format === 'number' &&
      (value.kind === 'live' || value.kind === 'copy') &&
      typeof value.guid === 'string' &&
      /^\d{1,20}$/.test(value.guid);
    return isMarker ? (value as MarkerFile) : null;
  } catch {
    return null;
  }
}

/**
 * Makes a store: inside an existing directory for `live`, of an absent or empty one for `copy`.
 * @throws SnapferryError `DATASET_NOT_FOUND` when a live directory does not exist, `INVALID_REQUEST` when a directory
 * is neither empty nor a copy
 */
export async function createStore(directory: string, kind: StoreKind): Promise<StoreMarker> {
  const root = kind === 'live' ? join(directory, liveStoreName) : directory;
  if (kind === 'live') await requireDirectory(directory);
  else await requireFree(directory);
  await mkdir(root, kind === 'live' ? { mode: 0o700, recursive: true } : { recursive: true });
  const guid = newGuid();
  const text = `${JSON.stringify({ format: 1, kind, guid: String(guid) })}\n`;
  await replaceDurably(join(root, markerName), (temporary) => writeFile(temporary, text, { mode: 0o600 }));
  await syncDirectory(dirname(resolve(root)));
  return { root, kind, guid };
}

async function requireDirectory(directory: string): Promise<void> {
  try {
    await readdir(directory);
  } catch (cause) {
    throw new SnapferryError('DATASET_NOT_FOUND', `cannot read the directory ${directory}: ${String(cause)}`, {
      cause,
    });
  }
}

async function requireFree(directory: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return;
    throw new SnapferryError('INVALID_REQUEST', `cannot receive into ${directory}: ${String(cause)}`, { cause });
  }
  const inTheWay = names.filter((name) => !name.endsWith(temporarySuffix));
  if (inTheWay.length === 0) return;
  const first = JSON.stringify(inTheWay[0]);
  const text = `${directory} is neither empty nor a copy made by snapferry (it holds ${first}); give another directory`;
  throw new SnapferryError('INVALID_REQUEST', text);
}
