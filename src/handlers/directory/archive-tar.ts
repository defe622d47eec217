import { spawnCommand } from '../run-command.ts';
import type { ByteString } from './entry.ts';

/** What to archive, and how. */
export interface TarRequest {
  /** Absolute path of a snapshot's tree. */
  readonly tree: string;
  /** What to archive, in this order, each by itself. */
  readonly paths: readonly ByteString[];
  /** Archives a file once for each of its names. */
  readonly dereferenceHardLinks?: boolean;
  /** Makes tar write in large records. Their padding, up to 256 KiB at the end, must not matter. */
  readonly large: boolean;
  readonly signal?: AbortSignal | undefined;
}

const largeRecordBlocks = 512;
const defaultRecordBlocks = 20;
const namesPerPiece = 1000;

/**
 * An archive of parts of a snapshot as GNU tar makes it. tar runs while the bytes are iterated, and is stopped and
 * reaped when the iteration ends in whatever way. A piece is lent until the next one is asked for.
 * @throws SnapferryError `SOURCE_FAILED` with tar's own words, `CANCELLED`
 */
export async function* tarBytes(request: TarRequest): AsyncGenerator<Uint8Array> {
  const tar = spawnCommand({
    argv: [
      'tar',
      '--create',
      '--file=-',
      '--format=posix',
      // Neither is ever applied, and both differ each time.
      '--pax-option=delete=atime,delete=ctime',
      '--sparse',
      '--xattrs',
      '--xattrs-include=*',
      '--acls',
      '--numeric-owner',
      '--no-recursion',
      '--no-unquote',
      ...(request.dereferenceHardLinks === true ? ['--hard-dereference'] : []),
      `--blocking-factor=${request.large ? largeRecordBlocks : defaultRecordBlocks}`,
      // The next snapshot hard-links these files while we read them, and so changes their ctime. Whether a content
      // is right is for its digest to say.
      '--warning=no-file-changed',
      '--null',
      '--files-from=-',
    ],
    cwd: request.tree,
    stdin: nulSeparated(request.paths),
    signal: request.signal,
    code: 'SOURCE_FAILED',
    acceptsStatus: (status, stderr) => status === 1 && stderr === '',
  });
  try {
    try {
      yield* tar.stdout;
    } catch (error) {
      // A stopped tar breaks its output; then the reason is what it was stopped for.
      await tar.finished;
      throw error;
    }
    await tar.finished;
  } finally {
    await tar.stop();
  }
}

async function* nulSeparated(paths: readonly ByteString[]): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < paths.length; start += namesPerPiece) {
    const names = paths.slice(start, start + namesPerPiece).map((path) => (path === '' ? '.' : path));
    yield Buffer.from(`${names.join('\u0000')}\u0000`, 'latin1');
    await Promise.resolve();
  }
}
