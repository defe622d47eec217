/**
 * A file name or path as its bytes, one character per byte (latin1): names need not be UTF-8, and such a string can be
 * compared, sorted and used as a key without losing anything. `Buffer.from(text, 'latin1')` gives the bytes.
 */
export type ByteString = string;

/** One file of a snapshot, as its manifest tells it. */
export interface Entry {
  /** Relative to the snapshot, components joined by `/`; the empty string is the snapshot's own directory. */
  readonly path: ByteString;
  /** `hardlink`: another name of the file at `target`, which is the first of its names in path order. */
  readonly type: 'file' | 'directory' | 'symlink' | 'fifo' | 'hardlink';
  /** Permission bits with setuid, setgid and sticky: `st_mode & 0o7777`. For a hardlink those of its file. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  /** Bytes of a file; 0 for everything else. */
  readonly size: number;
  /** SHA-256 in hex of a file's content, holes read as zeros; null for everything else. */
  readonly sha256: string | null;
  /** Where a symlink points, or the path of a hardlink's first name; null for everything else. */
  readonly target: ByteString | null;
  /** Raised when the file changed in a way the other fields cannot show (extended attributes, ACLs). */
  readonly generation: number;
}
