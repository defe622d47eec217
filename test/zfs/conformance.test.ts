import { writeFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { zfsTool } from '../../src/handlers/zfs/commands-tool.ts';
import type { ZfsTool } from '../../src/handlers/zfs/commands-tool.ts';
import { zfsHandler, zfsStreamFormat } from '../../src/handlers/zfs/handler.ts';
import { zfsSink } from '../../src/handlers/zfs/sink.ts';
import { listVersions } from '../../src/handlers/zfs/versions.ts';
import { contentBytes, describeBackend, type TestBackend } from '../conformance/backend.ts';
import { childrenAlive } from '../support/directory-fixture.ts';
import { seededBytes } from '../support/recorded.ts';
import { describeZfs, run, TestPool } from './pools.ts';
import { snapshotContent } from './snapshot-content.ts';

const fileCount = 4;

describeZfs('ZFS', () => {
  let source: TestPool;
  let target: TestPool;
  let made = 0;
  beforeAll(() => {
    source = new TestPool('source');
    target = new TestPool('target');
  });
  afterAll(() => {
    source.destroy();
    target.destroy();
  });

  function onPools(): Promise<TestBackend> {
    const name = `t${++made}`;
    const dataset = `${source.name}/${name}/home`;
    const copies = `${target.name}/${name}`;
    const copy = `${copies}/${dataset}`;
    run('zfs', 'create', '-p', dataset);
    run('zfs', 'create', '-o', 'canmount=off', '-o', 'mountpoint=none', copies);
    const tool = zfsTool();
    const receiving = switchable(tool);
    const directory = source.pathOf(dataset);
    mkdirSync(join(directory, 'd'));
    writeFileSync(join(directory, 'd/constant'), 'constant');
    const versionCalled = async (type: string, called: string): Promise<FilesystemVersion> =>
      (await listVersions(tool, dataset)).find((version) => version.type === type && version.name === called)!;
    const contentOf = async (place: string, { guid }: FilesystemVersion): Promise<unknown> => {
      const version = (await listVersions(tool, place)).find((one) => one.guid === guid && one.type === 'snapshot');
      return snapshotContent(`${place}@${version!.name}`);
    };
    return Promise.resolve({
      filesystem: dataset.split('/'),
      format: zfsStreamFormat,
      handler: zfsHandler({ roots: [{ dataset }], tool }),
      sink: zfsSink({ locate: (filesystem) => [copies, ...filesystem].join('/'), tool: receiving.tool, jobId: 'job' }),
      snapshot(called, seed) {
        rmSync(join(directory, `d/only-${seed - 1}`), { force: true });
        for (let index = 0; index < fileCount; index++) {
          writeFileSync(join(directory, `d/${index}`), seededBytes(`${seed} ${index}`, contentBytes / fileCount));
        }
        writeFileSync(join(directory, `d/only-${seed}`), `${seed}`);
        run('zfs', 'snapshot', `${dataset}@${called}`);
        return versionCalled('snapshot', called);
      },
      bookmark(snapshot, called) {
        run('zfs', 'bookmark', `${dataset}@${snapshot.name}`, `${dataset}#${called}`);
        return versionCalled('bookmark', called);
      },
      destroy({ name: called }) {
        run('zfs', 'destroy', `${dataset}@${called}`);
        return Promise.resolve();
      },
      sourceFingerprint: (version) => contentOf(dataset, version),
      targetFingerprint: (version) => contentOf(copy, version),
      breakCommit() {
        receiving.current = zfsTool({ argv: ['bash', '-c', 'head -c -312 | exec zfs "$@"', 'zfs'] });
        return Promise.resolve(() => {
          receiving.current = tool;
          return Promise.resolve();
        });
      },
      isIdle: () => childrenAlive().length === 0,
      close: () => Promise.resolve(),
    });
  }

  describeBackend('ZFS', onPools, { resumes: true });
});

/** A tool that can be exchanged for another one as far as streams are concerned. */
function switchable(tool: ZfsTool): { tool: ZfsTool; current: ZfsTool } {
  const box = {
    current: tool,
    tool: {
      run: (...args: Parameters<ZfsTool['run']>) => tool.run(...args),
      spawn: (...args: Parameters<ZfsTool['spawn']>) => box.current.spawn(...args),
    },
  };
  return box;
}
