import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { SnapferryError } from '../../src/errors.ts';
import { directoryHandler } from '../../src/handlers/directory/handler.ts';
import { directorySink } from '../../src/handlers/directory/sink.ts';
import { takeSnapshot } from '../../src/handlers/directory/snapshot.ts';
import { removeTree } from '../../src/handlers/directory/tree.ts';
import type { RequestContext, RPCHandler, Transfer } from '../../src/rpc/interfaces.ts';
import type { ReceiveResult, ReplicationSink, TransferBytes } from '../../src/sink.ts';

/** The one dataset of a {@link DirectoryFixture}. */
export const filesystem = ['data'];

/** A context as the RPC would give it. */
export function contextWith(signal: AbortSignal = new AbortController().signal): RequestContext {
  return { clientIdentity: 'test', signal, logger: pino({ level: 'silent' }), progress: () => undefined };
}

/** A live directory, the copy of it, and both halves of the backend between them. */
export class DirectoryFixture {
  readonly root = mkdtempSync(join(tmpdir(), 'snapferry-directory-'));
  readonly source = join(this.root, 'source');
  readonly copy = join(this.root, 'copies/data');
  readonly handler: RPCHandler = directoryHandler({ datasets: [{ path: filesystem, directory: this.source }] });
  readonly sink: ReplicationSink = directorySink({ locate: () => this.copy });

  constructor() {
    mkdirSync(this.source);
  }

  async cleanup(): Promise<void> {
    await removeTree(this.root);
  }

  /** Takes a snapshot whether or not anything changed. */
  async snapshot(): Promise<FilesystemVersion> {
    const { version } = await takeSnapshot(this.source, { force: true });
    return version!;
  }

  async offer(
    from: FilesystemVersion | null,
    to: FilesystemVersion,
    resumeToken?: string,
    signal?: AbortSignal,
  ): Promise<Transfer> {
    const context = contextWith(signal);
    if (from === null) return this.handler.initialTransfer({ filesystem, version: to, resumeToken }, context);
    return this.handler.incrementalTransfer({ filesystem, from, to, resumeToken }, context);
  }

  async stream(from: FilesystemVersion | null, to: FilesystemVersion): Promise<Buffer> {
    return collect((await this.offer(from, to)).bytes);
  }

  receive(
    from: FilesystemVersion | null,
    to: FilesystemVersion,
    bytes: TransferBytes,
    resumed = false,
  ): Promise<ReceiveResult> {
    return this.sink.receive({ filesystem, from, to, format: 'directory', resumed }, bytes);
  }

  async transfer(from: FilesystemVersion | null, to: FilesystemVersion): Promise<ReceiveResult> {
    const { bytes } = await this.offer(from, to);
    return this.receive(from, to, bytes);
  }

  /** The tree of a snapshot in the copy. */
  copied(version: FilesystemVersion): string {
    return join(this.copy, 'snapshots', version.name);
  }

  /** The tree of a snapshot at the source. */
  sent(version: FilesystemVersion): string {
    return join(this.source, '.snapferry/snapshots', version.name);
  }

  /** Names of what a receive has left in the copy's staging directory. */
  staging(): string[] {
    return readdirSync(join(this.copy, 'staging'));
  }
}

/** All of some bytes. */
export async function collect(bytes: TransferBytes): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const piece of bytes) parts.push(Uint8Array.from(piece instanceof Uint8Array ? piece : piece.subarray()));
  return Buffer.concat(parts);
}

/** Bytes in pieces, each of which is overwritten once it is no longer lent. */
export async function* lend(bytes: Uint8Array, pieceBytes = 65_536): TransferBytes {
  for (let position = 0; position < bytes.length; position += pieceBytes) {
    await Promise.resolve();
    const piece = Uint8Array.from(bytes.subarray(position, position + pieceBytes));
    yield piece;
    piece.fill(0xdd);
  }
}

/** The code that a promise rejects with, and the message. */
export async function failure(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof SnapferryError) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: 'no error', message: '' };
}

/** Every file of a tree with all that can be compared between two trees, times of access and change left out. */
export function describeTree(directory: string, leaveOut: readonly string[] = []): Record<string, string> {
  const described: Record<string, string> = {};
  const firstNames = new Map<string, string>();
  const visit = (path: string): void => {
    const bytes = Buffer.from(path === '' ? directory : `${directory}/${path}`, 'latin1');
    const stats = lstatSync(bytes, { bigint: true });
    const facts = [stats.mode.toString(8), stats.uid, stats.gid, stats.mtimeNs];
    if (stats.isSymbolicLink()) facts.push(`-> ${readlinkSync(bytes, 'latin1')}`);
    if (stats.isFile()) {
      const first = firstNames.get(String(stats.ino));
      if (first === undefined) {
        firstNames.set(String(stats.ino), path);
        facts.push(stats.size, hash('sha256', readFileSync(bytes), 'hex'));
      } else {
        facts.push(`= ${first}`);
      }
    }
    described[path] = facts.join(' ');
    if (!stats.isDirectory()) return;
    const names = readdirSync(bytes, 'latin1').sort();
    for (const name of names) {
      const below = path === '' ? name : `${path}/${name}`;
      if (!leaveOut.includes(below)) visit(below);
    }
  };
  visit('');
  return described;
}

/** Extended attributes and ACLs of a tree as `getfattr` and `getfacl` print them. */
export function describeAttributes(directory: string): string {
  const list = (program: string, args: readonly string[]): string =>
    execFileSync(program, [...args, '.'], { cwd: directory, encoding: 'latin1', stdio: ['ignore', 'pipe', 'pipe'] });
  return list('getfattr', ['-R', '-h', '-d', '-m', '-', '-e', 'hex']) + list('getfacl', ['-R', '-n', '-P']);
}

/** Processes that this one has started and not yet reaped, threads' children included. */
export function childrenAlive(): string[] {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8')
      .split(' ')
      .filter((pid) => pid !== ''),
  );
}
