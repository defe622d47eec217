import { zfsTool } from '../../../src/handlers/zfs/commands-tool.ts';
import { zfsHandler, zfsStreamFormat } from '../../../src/handlers/zfs/handler.ts';
import { zfsSink } from '../../../src/handlers/zfs/sink.ts';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { contentBytes, describeBackend, type TestBackend } from '../../conformance/backend.ts';
import { childrenAlive } from '../../support/directory-fixture.ts';
import { FakeZfs } from '../../support/fake-zfs.ts';
import type { FakeVersion } from '../../support/fake-zfs-pool.ts';
import { seededBytes } from '../../support/recorded.ts';

function versionOf(type: string, { name, guid, createTXG, creation }: FakeVersion): FilesystemVersion {
  return { type, name, guid, createTXG, creation: new Date(creation * 1000).toISOString().replace('.000Z', 'Z') };
}

async function onFakePools(): Promise<TestBackend> {
  const fake = await FakeZfs.start();
  const { pool } = fake;
  for (const name of ['src', 'src/home', 'dst', 'dst/copies']) pool.create(name);
  const tool = zfsTool({ argv: [fake.program] });
  const contentOf = (dataset: string, guid: bigint): Promise<string | undefined> =>
    Promise.resolve(
      pool.datasets
        .get(dataset)
        ?.snapshots.find((snapshot) => snapshot.guid === guid)
        ?.content.toString('latin1'),
    );
  return {
    filesystem: ['src', 'home'],
    format: zfsStreamFormat,
    handler: zfsHandler({ roots: [{ dataset: 'src/home' }], tool }),
    sink: zfsSink({ locate: (path) => ['dst/copies', ...path].join('/'), jobId: 'job', tool }),
    snapshot(name, seed) {
      const content = seededBytes(`content ${seed}`, contentBytes);
      return Promise.resolve(versionOf('snapshot', pool.snapshot('src/home', name, content)));
    },
    bookmark(snapshot, name) {
      const found = pool.get('src/home').snapshots.find(({ guid }) => guid === snapshot.guid)!;
      return Promise.resolve(versionOf('bookmark', pool.bookmark('src/home', found, name)));
    },
    destroy(snapshot) {
      pool.destroy('src/home', `@${snapshot.name}`);
      return Promise.resolve();
    },
    sourceFingerprint: ({ guid }) => contentOf('src/home', guid),
    targetFingerprint: ({ guid }) => contentOf('dst/copies/src/home', guid),
    breakCommit({ guid }) {
      pool.unreceivable.add(guid);
      return Promise.resolve(() => {
        pool.unreceivable.delete(guid);
        return Promise.resolve();
      });
    },
    isIdle: () => childrenAlive().length === 0,
    close: () => fake.stop(),
  };
}

describeBackend('the ZFS backend, on a fake zfs', onFakePools, { resumes: true });
