import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { btrfsHandler } from '../../src/handlers/btrfs/handler.ts';
import { btrfsSink, type BtrfsSinkOptions } from '../../src/handlers/btrfs/sink.ts';
import { SnapferryError } from '../../src/errors.ts';
import { takeBtrfsSnapshot } from '../../src/handlers/btrfs/snapshot.ts';
import type { RPCHandler, Transfer } from '../../src/rpc/interfaces.ts';
import type { ReceiveResult, ReplicationSink, TransferBytes } from '../../src/sink.ts';
import { run, type BtrfsVolume } from './btrfs-volume.ts';
import { contextWith } from './directory-fixture.ts';

/** The one dataset of a {@link BtrfsFixture}. */
export const filesystem = ['data', '@home'];

/** A live subvolume, its copies, and both halves of the backend between them, on one or two file systems. */
export class BtrfsFixture {
  readonly live: string;
  /** Where copies go: `COPY@NAME`. */
  readonly copy: string;
  readonly handler: RPCHandler;
  readonly sink: ReplicationSink;

  constructor(source: BtrfsVolume, target: BtrfsVolume, options: Partial<BtrfsSinkOptions> = {}) {
    this.live = join(source.top, 'data/@home');
    this.copy = join(target.top, 'backup/web1/@home');
    mkdirSync(dirname(this.live), { recursive: true });
    run('btrfs', 'subvolume', 'create', this.live);
    this.handler = btrfsHandler({ roots: [{ directory: this.live, path: filesystem }] });
    this.sink = btrfsSink({ locate: () => this.copy, ...options });
  }

  write(name: string, content: string | Uint8Array): void {
    const path = join(this.live, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }

  async snapshot(name: string): Promise<FilesystemVersion> {
    const { version } = await takeBtrfsSnapshot(this.live, { name, force: true });
    return version!;
  }

  /** Path of a snapshot of the source. */
  taken({ name }: Pick<FilesystemVersion, 'name'>): string {
    return `${this.live}@${name}`;
  }

  /** Path of a copy. */
  copied({ name }: Pick<FilesystemVersion, 'name'>): string {
    return `${this.copy}@${name}`;
  }

  offer(
    from: FilesystemVersion | null,
    to: FilesystemVersion,
    resumeToken?: string,
    signal?: AbortSignal,
  ): Promise<Transfer> {
    const context = contextWith(signal);
    if (from === null) return this.handler.initialTransfer({ filesystem, version: to, resumeToken }, context);
    return this.handler.incrementalTransfer({ filesystem, from, to, resumeToken }, context);
  }

  receive(
    from: FilesystemVersion | null,
    to: FilesystemVersion,
    bytes: TransferBytes,
    more: { readonly resumed?: boolean; readonly signal?: AbortSignal } = {},
  ): Promise<ReceiveResult> {
    const { resumed = false, signal } = more;
    return this.sink.receive({ filesystem, from, to, format: 'btrfs', resumed }, bytes, signal);
  }

  async transfer(from: FilesystemVersion | null, to: FilesystemVersion, resumeToken?: string): Promise<boolean> {
    await this.sink.createParents(filesystem);
    const { bytes, resumed } = await this.offer(from, to, resumeToken);
    await this.receive(from, to, bytes, { resumed });
    return resumed;
  }

  /** What receives have left where copies are. */
  remains(): string[] {
    return readdirSync(dirname(this.copy)).filter((name) => name.startsWith('.snapferry-receiving-'));
  }

  async copies(): Promise<string[]> {
    return ((await this.sink.filesystemVersions(filesystem)) ?? []).map(({ name }) => name);
  }
}

/** So many bytes, and then the connection is gone. */
export async function* cutAfter(bytes: TransferBytes, good: number): TransferBytes {
  let left = good;
  for await (const piece of bytes) {
    const flat = piece.subarray();
    yield flat.subarray(0, left);
    left -= flat.byteLength;
    if (left <= 0) break;
  }
  throw new SnapferryError('CONNECTION_LOST', 'the cable was pulled out');
}
