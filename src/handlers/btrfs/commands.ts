/**
 * Arguments of `btrfs`. Every path is absolute and behind `--`, so none can be an option; `btrfs` itself and what may stand before it
 * (`sudo -n`) is for `BtrfsTool` to say.
 */
export type BtrfsArguments = readonly [string, ...string[]];

/**
 * All subvolumes of the file system that `path` is on, one a line. With `-a`, for without it the paths of those inside the subvolume
 * that `path` is in are relative to that, and look like all the others.
 */
export function listArguments(path: string): BtrfsArguments {
  return ['subvolume', 'list', '-a', '-puqRcg', '--', absolute(path)];
}

/** The same, read-only ones alone. */
export function listReadOnlyArguments(path: string): BtrfsArguments {
  return ['subvolume', 'list', '-a', '-r', '-puqRcg', '--', absolute(path)];
}

/** Read-only ones that were made as snapshots, with the time they were made at. */
export function listTimesArguments(path: string): BtrfsArguments {
  return ['subvolume', 'list', '-a', '-r', '-s', '-u', '--', absolute(path)];
}

/** Everything about one subvolume. */
export function showArguments(path: string): BtrfsArguments {
  return ['subvolume', 'show', '--', absolute(path)];
}

/** A read-only snapshot of `source`. The caller knows that nothing is at `destination`: otherwise it would land inside. */
export function snapshotArguments(source: string, destination: string): BtrfsArguments {
  return ['subvolume', 'snapshot', '-r', '--', absolute(source), absolute(destination)];
}

/** Deletes a subvolume; on disk when it exits, for without `-c` a power cut may bring it back. */
export function deleteArguments(path: string): BtrfsArguments {
  return ['subvolume', 'delete', '-c', '--', absolute(path)];
}

/** Puts everything on disk that the file system holds in memory. */
export function syncArguments(path: string): BtrfsArguments {
  return ['filesystem', 'sync', '--', absolute(path)];
}

/** Bytes that a subvolume refers to, and has for itself alone. */
export function diskUsageArguments(path: string): BtrfsArguments {
  return ['filesystem', 'du', '-s', '--raw', '--', absolute(path)];
}

/** What is to be sent. */
export interface SendSubject {
  /** Path of the snapshot the stream starts from; null for a full stream. */
  readonly parent: string | null;
  readonly snapshot: string;
  /** Version of the stream format; 2 needs Linux 6.0 and btrfs-progs 5.19 at both ends. */
  readonly streamVersion: 1 | 2;
}

/** A stream on stdout. */
export function sendArguments({ parent, snapshot, streamVersion }: SendSubject): BtrfsArguments {
  return [
    'send',
    '-q',
    ...(streamVersion === 1 ? [] : ['--proto', String(streamVersion)]),
    ...(parent === null ? [] : ['-p', absolute(parent)]),
    '--',
    absolute(snapshot),
  ];
}

/**
 * Takes a stream from stdin and makes a subvolume in `folder`. It runs in a chroot there, so that whatever the stream says, and whatever
 * our own check of it misses, nothing outside can be named.
 */
export function receiveArguments(folder: string): BtrfsArguments {
  return ['receive', '-q', '-C', '--', absolute(folder)];
}

function absolute(path: string): string {
  if (path.startsWith('/') && !path.includes('\0')) return path;
  throw new RangeError(`not an absolute path: ${JSON.stringify(path)}`);
}
