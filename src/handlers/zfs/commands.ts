import { checkHoldTag, splitVersionName, checkDatasetName, versionName } from './names.ts';
import { placeholderProperty } from './names-ours.ts';

/**
 * Arguments of `zfs`. Every name in them has passed `names.ts`, which also checks each again where it is put in, so none can be an
 * option; `zfs` itself and what may stand before it (`sudo -n`) is for `zfsTool` to say.
 */
export type ZfsArguments = readonly [string, ...string[]];

const versionColumns = 'name,guid,createtxg,creation';
/** Besides: how many holds a snapshot has, and how it is encrypted. `-` where that does not apply. */
const detailColumns = `${versionColumns},userrefs,encryption`;

function checkedVersion(fullName: string): string {
  const parts = splitVersionName(fullName);
  if (parts === null) throw new RangeError(`not the name of a version: ${fullName}`);
  return versionName(parts.dataset, parts);
}

function checkedDataset(dataset: string): string {
  checkDatasetName(dataset);
  return dataset;
}

/** All snapshots and bookmarks of one dataset, without those of its children. */
export function listVersionsArguments(dataset: string): ZfsArguments {
  return ['list', '-Hp', '-o', versionColumns, '-t', 'snapshot,bookmark', '-d', '1', checkedDataset(dataset)];
}

/** The same with what the source needs to know before it sends or releases. `isRecursive`: of all datasets below, too. */
export function listDetailsArguments(dataset: string, isRecursive = false): ZfsArguments {
  const depth = isRecursive ? ['-r'] : ['-d', '1'];
  return ['list', '-Hp', '-o', detailColumns, '-t', 'snapshot,bookmark', ...depth, checkedDataset(dataset)];
}

/** The same of certain versions. Those that exist are printed also if another does not. */
export function listNamedArguments(fullNames: readonly string[]): ZfsArguments {
  return ['list', '-Hp', '-o', detailColumns, '-t', 'snapshot,bookmark', ...fullNames.map(checkedVersion)];
}

/**
 * Filesystems and volumes at or below a root, each with whether it is a placeholder of ours. `zfs get`, because only that tells
 * a property set here from one inherited.
 */
export function listDatasetsArguments(root: string, isRecursive: boolean): ZfsArguments {
  const depth = isRecursive ? ['-r'] : [];
  const columns = 'name,value,source';
  return ['get', '-Hp', ...depth, '-t', 'filesystem,volume', '-o', columns, placeholderProperty, checkedDataset(root)];
}

/** How a stream is made. */
export interface SendFlags {
  /** `-w`: blocks as they are on the disk, encrypted ones encrypted. */
  readonly raw: boolean;
  /** `-L` */
  readonly largeBlocks: boolean;
  /** `-e` */
  readonly embedded: boolean;
  /** `-c` */
  readonly compressed: boolean;
  /** `-p` */
  readonly properties: boolean;
}

/** What is to be sent: full names, or the token of a receive to be continued. */
export type SendSubject =
  { readonly from: string | null; readonly to: string; readonly flags: SendFlags } | { readonly resumeToken: string };

/** A stream on stdout. */
export function sendArguments(subject: SendSubject): ZfsArguments {
  return ['send', ...subjectArguments(subject)];
}

/** What that would send, and how much of it, on stdout. */
export function sendDryRunArguments(subject: SendSubject): ZfsArguments {
  return ['send', '-nvP', ...subjectArguments(subject)];
}

function subjectArguments(subject: SendSubject): string[] {
  if ('resumeToken' in subject) {
    if (!/^[0-9a-f-]+$/.test(subject.resumeToken) || subject.resumeToken.startsWith('-')) {
      throw new RangeError('not a resume token');
    }
    return ['-t', subject.resumeToken];
  }
  const { from, to, flags } = subject;
  const letters =
    (flags.raw ? 'w' : '') +
    (flags.largeBlocks ? 'L' : '') +
    (flags.embedded ? 'e' : '') +
    (flags.compressed ? 'c' : '') +
    (flags.properties ? 'p' : '');
  return [
    ...(letters === '' ? [] : [`-${letters}`]),
    ...(from === null ? [] : ['-i', checkedVersion(from)]),
    checkedVersion(to),
  ];
}

/** Who holds these snapshots. */
export function holdsArguments(snapshots: readonly string[]): ZfsArguments {
  return ['holds', '-H', ...snapshots.map(checkedSnapshot)];
}

/** Holds snapshots. Not idempotent, and not all or none. */
export function holdArguments(tag: string, snapshots: readonly string[]): ZfsArguments {
  checkHoldTag(tag);
  return ['hold', tag, ...snapshots.map(checkedSnapshot)];
}

/** Releases holds. Not idempotent, and not all or none. */
export function releaseArguments(tag: string, snapshots: readonly string[]): ZfsArguments {
  checkHoldTag(tag);
  return ['release', tag, ...snapshots.map(checkedSnapshot)];
}

/** Makes a bookmark of a snapshot or another bookmark of the same dataset. */
export function bookmarkArguments(version: string, bookmark: string): ZfsArguments {
  return ['bookmark', checkedVersion(version), checkedBookmark(bookmark)];
}

/** Destroys one bookmark, and can destroy nothing else. */
export function destroyBookmarkArguments(bookmark: string): ZfsArguments {
  return ['destroy', checkedBookmark(bookmark)];
}

function checkedSnapshot(fullName: string): string {
  if (splitVersionName(fullName)?.type !== 'snapshot') throw new RangeError(`not the name of a snapshot: ${fullName}`);
  return checkedVersion(fullName);
}

function checkedBookmark(fullName: string): string {
  if (splitVersionName(fullName)?.type !== 'bookmark') throw new RangeError(`not the name of a bookmark: ${fullName}`);
  return checkedVersion(fullName);
}
