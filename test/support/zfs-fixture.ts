import type { DatasetPath, FilesystemVersion } from '../../src/dataset.ts';
import { zfsTool, type ZfsToolOptions } from '../../src/handlers/zfs/commands-tool.ts';
import { zfsHandler, type ZfsHandlerOptions } from '../../src/handlers/zfs/handler.ts';
import type { RPCHandler, Transfer } from '../../src/rpc/interfaces.ts';
import { collect, contextWith } from './directory-fixture.ts';
import { FakeZfs } from './fake-zfs.ts';
import type { FakeVersion } from './fake-zfs-pool.ts';

/** A version of the fake pool as it travels. */
export function wireVersion(type: 'snapshot' | 'bookmark', version: FakeVersion): FilesystemVersion {
  const { name, guid, createTXG, creation } = version;
  return { type, name, guid, createTXG, creation: new Date(creation * 1000).toISOString().replace('.000Z', 'Z') };
}

/** A source of ZFS datasets, with one that most tests are about. */
export class ZfsFixture {
  readonly fake: FakeZfs;
  readonly filesystem: DatasetPath = ['tank', 'home'];
  readonly dataset = 'tank/home';

  private constructor(fake: FakeZfs) {
    this.fake = fake;
    for (const name of ['tank', 'tank/home']) fake.pool.create(name);
  }

  static async start(): Promise<ZfsFixture> {
    return new ZfsFixture(await FakeZfs.start());
  }

  handler(options: Partial<ZfsHandlerOptions> = {}, tool: ZfsToolOptions = {}): RPCHandler {
    return zfsHandler({
      roots: [{ dataset: 'tank' }],
      tool: zfsTool({ argv: [this.fake.program], ...tool }),
      ...options,
    });
  }

  snapshot(name: string, content = Buffer.from(`content of ${name}`)): FilesystemVersion {
    return wireVersion('snapshot', this.fake.pool.snapshot(this.dataset, name, content));
  }

  /** A snapshot with more content than any pipe or socket on the way holds. */
  largeSnapshot(name: string): FilesystemVersion {
    return this.snapshot(name, Buffer.alloc(32 * 1024 * 1024, name));
  }

  bookmark(of: FilesystemVersion, name: string): FilesystemVersion {
    const found = this.fake.pool.get(this.dataset).snapshots.find(({ guid }) => guid === of.guid)!;
    return wireVersion('bookmark', this.fake.pool.bookmark(this.dataset, found, name));
  }

  offer(
    handler: RPCHandler,
    { from, to }: { from: FilesystemVersion | null; to: FilesystemVersion },
    { signal, ...more }: { resumeToken?: string; jobId?: string; signal?: AbortSignal } = {},
  ): Promise<Transfer> {
    const request = { filesystem: this.filesystem, ...more };
    if (from === null) return handler.initialTransfer({ ...request, version: to }, contextWith(signal));
    return handler.incrementalTransfer({ ...request, from, to }, contextWith(signal));
  }

  /** A transfer that arrives. */
  async transfer(
    handler: RPCHandler,
    step: { from: FilesystemVersion | null; to: FilesystemVersion },
    jobId = 'job',
  ): Promise<Buffer> {
    return collect((await this.offer(handler, step, { jobId })).bytes);
  }

  complete(handler: RPCHandler, version: FilesystemVersion, jobId = 'job'): Promise<void> {
    return handler.transferCompleted!({ filesystem: this.filesystem, version, jobId }, contextWith());
  }

  /** Bookmarks of the dataset, oldest first, with names cut where they become unreadable. */
  bookmarks(): string[] {
    const names = new Map(this.fake.pool.get(this.dataset).snapshots.map(({ guid, name }) => [guid, name]));
    return this.fake.pool.get(this.dataset).bookmarks.map(({ name, guid }) => {
      const [, kind, raw = ''] = /^snapferry_([A-Z]+?)(_RAW)?_G_/.exec(name) ?? [];
      return kind === undefined ? name : `${kind}${raw} ${names.get(guid) ?? 'of a snapshot that is gone'}`;
    });
  }

  /** Holds on the dataset, as snapshot and tag. */
  holds(): string[] {
    return this.fake.pool.holds().map((text) => text.slice(this.dataset.length));
  }
}
