import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import { splitVersionName } from './names.ts';

/** A version as the source sees it, with what the wire does not carry. */
export interface VersionDetails {
  readonly dataset: string;
  readonly version: FilesystemVersion;
  /** Holds on it; 0 for a bookmark. */
  readonly holds: number;
  /** Whether its dataset is encrypted; false for a bookmark, which does not say. */
  readonly isEncrypted: boolean;
}

/** A filesystem or volume. */
export interface ListedDataset {
  readonly name: string;
  /** Whether we made it, only so that another dataset has a parent. What a child inherits does not count. */
  readonly isPlaceholder: boolean;
}

/** One line of `zfs holds -H`. */
export interface ListedHold {
  /** Full name of the snapshot. */
  readonly snapshot: string;
  readonly tag: string;
}

/** What a dry run of `zfs send` says. */
export interface SendEstimate {
  /** Full name of the snapshot that would be sent, null if not told. */
  readonly to: string | null;
  /** Bytes, some per cent off; null when unknown. */
  readonly bytes: number | null;
}

const u64Pattern = /^\d{1,20}$/;

/** Lines of an output that is neither a person's nor ours to trust: split at tabs only, since names may have spaces. */
function* tableRows(stdout: Buffer, columns: number): Generator<readonly string[]> {
  const text = stdout.toString('utf8');
  for (let start = 0; start < text.length;) {
    const end = text.indexOf('\n', start);
    const line = text.slice(start, end === -1 ? undefined : end);
    start = end === -1 ? text.length : end + 1;
    const row = line.split('\t');
    if (row.length < columns) throw unexpected(line);
    yield row;
  }
}

function unexpected(line: string): SnapferryError {
  const shown = JSON.stringify(line.slice(0, 300));
  return new SnapferryError('SOURCE_FAILED', `zfs printed a line that we do not understand: ${shown}`);
}

function toVersion(row: readonly string[]): { dataset: string; version: FilesystemVersion } {
  const [fullName = '', guid = '', createTXG = '', creation = ''] = row;
  const parts = splitVersionName(fullName);
  if (parts === null || !u64Pattern.test(guid) || !u64Pattern.test(createTXG)) throw unexpected(row.join('\t'));
  const { dataset, type, name } = parts;
  return {
    dataset,
    version: { type, name, guid: BigInt(guid), createTXG: BigInt(createTXG), creation: toRFC3339(creation) },
  };
}

function toRFC3339(seconds: string): string | null {
  const date = new Date(Number(seconds) * 1000);
  return /^\d+$/.test(seconds) && Number.isFinite(date.getTime()) ? date.toISOString().replace('.000Z', 'Z') : null;
}

/** Oldest first; a snapshot before the bookmark made of it. */
function byCreateTXG<T>(list: T[], versionOf: (item: T) => FilesystemVersion): T[] {
  return list.sort((left, right) => {
    const [a, b] = [versionOf(left), versionOf(right)];
    if (a.createTXG !== b.createTXG) return a.createTXG < b.createTXG ? -1 : 1;
    return a.type === b.type ? 0 : a.type === 'snapshot' ? -1 : 1;
  });
}

/**
 * What `listVersionsArguments` prints, oldest first by createtxg; a snapshot before the bookmark made of it.
 * @throws SnapferryError `SOURCE_FAILED` if it is not understood
 */
export function parseVersions(stdout: Buffer, dataset: string): FilesystemVersion[] {
  const versions: FilesystemVersion[] = [];
  for (const row of tableRows(stdout, 4)) {
    const listed = toVersion(row);
    if (listed.dataset === dataset) versions.push(listed.version);
  }
  return byCreateTXG(versions, (version) => version);
}

/** What `listDetailsArguments` and `listNamedArguments` print, ordered and failing likewise. */
export function parseVersionDetails(stdout: Buffer): VersionDetails[] {
  const details: VersionDetails[] = [];
  for (const row of tableRows(stdout, 6)) {
    const [, , , , userrefs = '', encryption = ''] = row;
    const isEncrypted = encryption !== 'off' && encryption !== '-';
    details.push({ ...toVersion(row), holds: u64Pattern.test(userrefs) ? Number(userrefs) : 0, isEncrypted });
  }
  return byCreateTXG(details, ({ version }) => version);
}

/** What `listDatasetsArguments` prints, as listed: parents before children. Fails as {@link parseVersions} does. */
export function parseDatasets(stdout: Buffer): ListedDataset[] {
  return Array.from(tableRows(stdout, 3), ([name = '', value, source]) => ({
    name,
    isPlaceholder: value === 'on' && source === 'local',
  }));
}

/** What `holdsArguments` prints. A tag may have tabs. */
export function parseHolds(stdout: Buffer): ListedHold[] {
  return Array.from(tableRows(stdout, 3), (row) => ({ snapshot: row[0] ?? '', tag: row.slice(1, -1).join('\t') }));
}

/**
 * What `sendDryRunArguments` prints. An estimate below nothing is printed by ZFS as if it had no sign, as happens with tokens
 * close to the end: that, and whatever is no safe number, is unknown.
 */
export function parseEstimate(stdout: Buffer): SendEstimate {
  let to: string | null = null;
  let bytes: number | null = null;
  for (const line of stdout.toString('utf8').split('\n')) {
    const row = line.split('\t');
    if (row[0] === 'full' && row.length >= 2) to = row[1] ?? null;
    if (row[0] === 'incremental' && row.length >= 3) to = row[2] ?? null;
    if (row[0] === 'size' && u64Pattern.test(row[1] ?? '')) bytes = Number(row[1]);
  }
  return { to, bytes: bytes !== null && Number.isSafeInteger(bytes) ? bytes : null };
}
