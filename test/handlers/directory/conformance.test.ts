import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { directoryStreamFormat } from '../../../src/handlers/directory/send.ts';
import { takeSnapshot } from '../../../src/handlers/directory/snapshot.ts';
import { openStore } from '../../../src/handlers/directory/store.ts';
import { removeTree } from '../../../src/handlers/directory/tree.ts';
import { contentBytes, describeBackend, type TestBackend } from '../../conformance/backend.ts';
import { childrenAlive, describeTree, DirectoryFixture, filesystem } from '../../support/directory-fixture.ts';
import { seededBytes } from '../../support/recorded.ts';

const fileCount = 16;

function inDirectories(): Promise<TestBackend> {
  const fixture = new DirectoryFixture();
  const { source, copy, handler, sink } = fixture;
  // One that stays the same, one that comes and goes, and the rest changes.
  mkdirSync(join(source, 'd'));
  writeFileSync(join(source, 'd/constant'), 'constant');
  return Promise.resolve({
    filesystem,
    format: directoryStreamFormat,
    handler,
    sink,
    async snapshot(name, seed) {
      await rm(join(source, `d/only-${seed - 1}`), { force: true });
      for (let index = 0; index < fileCount; index++) {
        const content = seededBytes(`${seed} ${index}`, contentBytes / fileCount);
        writeFileSync(join(source, `d/${String(index).padStart(2, '0')}`), content);
      }
      writeFileSync(join(source, `d/only-${seed}`), `${seed}`);
      const { version } = await takeSnapshot(source, { name, force: true });
      return version!;
    },
    async bookmark(snapshot, name) {
      const store = await openStore(source);
      await store.setBookmark(name, snapshot);
      return (await store.versions()).find((version) => version.type === 'bookmark' && version.name === name)!;
    },
    destroy: ({ name }) => removeTree(join(source, '.snapferry/snapshots', name)),
    sourceFingerprint: (version) => Promise.resolve(describeTree(fixture.sent(version))),
    targetFingerprint: (version) => Promise.resolve(describeTree(fixture.copied(version))),
    async breakCommit({ name }) {
      await openStore(copy, { kind: 'copy', create: true });
      // Where the header of its manifest should go.
      const obstacle = join(copy, 'manifests', `${name}.json`);
      await mkdir(obstacle);
      return () => rmdir(obstacle);
    },
    isIdle: () => childrenAlive().length === 0,
    close: () => fixture.cleanup(),
  });
}

describeBackend('the directory backend', inDirectories, { resumes: true });
