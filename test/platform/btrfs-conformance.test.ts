import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, TestRunner } from 'vitest';
import { contentBytes, describeBackend, type TestBackend } from '../conformance/backend.ts';
import { BtrfsFixture, filesystem } from '../support/btrfs-fixture.ts';
import { BtrfsVolume, run, whyNoBtrfs } from '../support/btrfs-volume.ts';
import { childrenAlive, describeTree } from '../support/directory-fixture.ts';
import { describePlatform } from '../support/platform.ts';
import { seededBytes } from '../support/recorded.ts';

describePlatform('btrfs on a loop device', whyNoBtrfs(), () => {
  let source: BtrfsVolume;
  let target: BtrfsVolume;
  let tools: string;
  let count = 0;
  beforeAll(() => {
    source = new BtrfsVolume();
    target = new BtrfsVolume();
    tools = mkdtempSync(join(tmpdir(), 'snapferry-btrfs-tools-'));
  });
  afterAll(() => {
    source.remove();
    target.remove();
    rmSync(tools, { recursive: true, force: true });
  });

  describeBackend('btrfs', makeBackend, { resumes: true });

  async function makeBackend(): Promise<TestBackend> {
    const number = String(count++);
    const switchFile = join(tools, `broken-${number}`);
    const program = join(tools, `btrfs-${number}`);
    // A disk that fails at the last moment.
    writeFileSync(
      program,
      `#!/bin/sh\n[ "$2" = sync ] && [ -e ${switchFile} ] && { echo "ERROR: sync failed" >&2; exit 1; }\nexec btrfs "$@"\n`,
    );
    chmodSync(program, 0o755);
    const fixture = new BtrfsFixture(source.part(number), target.part(number), {
      tool: { program: [program] },
    });
    return Promise.resolve({
      filesystem,
      format: 'btrfs',
      handler: fixture.handler,
      sink: fixture.sink,
      snapshot(name, seed) {
        const quarter = contentBytes / 4;
        for (let part = 0; part < 4; part++)
          fixture.write(`folder-${part}/file`, seededBytes(`${seed}-${part}`, quarter + 1));
        return fixture.snapshot(name);
      },
      bookmark() {
        return TestRunner.getCurrentTest()!.context.skip('btrfs has no bookmarks');
      },
      destroy(version) {
        run('btrfs', 'subvolume', 'delete', '-c', fixture.taken(version));
        return Promise.resolve();
      },
      sourceFingerprint: (version) => Promise.resolve(describeTree(fixture.taken(version))),
      targetFingerprint: (version) => Promise.resolve(describeTree(fixture.copied(version))),
      breakCommit() {
        writeFileSync(switchFile, '');
        return Promise.resolve(() => {
          rmSync(switchFile);
          return Promise.resolve();
        });
      },
      isIdle: () => childrenAlive().length === 0,
      close() {
        if (existsSync(switchFile)) rmSync(switchFile);
        return Promise.resolve();
      },
    });
  }
});
