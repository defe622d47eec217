import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { verifySnapshot } from '../../src/handlers/directory/verify.ts';
import { describeTree, DirectoryFixture, failure } from '../support/directory-fixture.ts';
import { describePlatform } from '../support/platform.ts';
import { seededBytes } from '../support/recorded.ts';
import { directorySink } from '../../src/handlers/directory/sink.ts';

/** Why nothing can be mounted here, or null. */
function whyNoMount(): string | null {
  if (process.getuid?.() !== 0) return 'this is not root, who can mount';
  const directory = mkdtempSync(join(tmpdir(), 'snapferry-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', directory], { stdio: 'pipe' });
    execFileSync('umount', [directory]);
    return null;
  } catch (error) {
    return `mounting is not permitted here: ${String(error)}`;
  } finally {
    rmdirSync(directory);
  }
}

const isEvery = process.env['SNAPFERRY_EVERY_OFFSET'] === '1';

describePlatform('a disk that fills up', whyNoMount(), () => {
  const diskBytes = 8 * 1024 * 1024;
  const inodesMax = 120;
  let fixture: DirectoryFixture;
  let disk: string;

  beforeEach(() => {
    fixture = new DirectoryFixture();
    disk = join(fixture.root, 'disk');
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes},nr_inodes=${inodesMax}`, 'tmpfs', disk]);
  });
  afterEach(async () => {
    execFileSync('umount', [disk]);
    await fixture.cleanup();
  });

  /** Takes up space, or names, until so much is left. */
  const fillers: Record<string, (left: number) => void> = {
    bytes(left) {
      const { bavail, bsize } = statfsSync(disk);
      writeFileSync(join(disk, 'ballast'), Buffer.alloc(Math.max(0, bavail * bsize - left * 48 * 1024), 1));
    },
    inodes(left) {
      mkdirSync(join(disk, 'ballast'));
      const { ffree } = statfsSync(disk);
      for (let index = 0; index < ffree - 1 - left; index++) writeFileSync(join(disk, 'ballast', String(index)), '');
    },
  };

  test.each(Object.entries(fillers))(
    'with ever more %s left: an error that says so, the old snapshot as it was, and with room the next receive works',
    async (_, fill) => {
      for (let index = 0; index < 30; index++) {
        writeFileSync(join(fixture.source, `f${index}`), seededBytes(`one ${index}`, 20_000));
      }
      const one = await fixture.snapshot();
      for (let index = 0; index < 30; index++) {
        writeFileSync(join(fixture.source, `f${index}`), seededBytes(`two ${index}`, 20_000));
      }
      const two = await fixture.snapshot();
      const copy = join(disk, 'copy');
      const ends: string[] = [];
      for (let left = 0; left < 60 && !ends.includes('done'); left += isEvery ? 1 : 4) {
        rmSync(copy, { recursive: true, force: true });
        const receive = async (isFirst: boolean): Promise<void> => {
          // A process that knows nothing of the one before.
          const sink = directorySink({ locate: () => copy });
          const [from, to] = isFirst ? [null, one] : [one, two];
          const token = (await sink.resumeState(['data']))?.token;
          const { bytes, format, resumed } = await fixture.offer(from, to, token);
          await sink.receive({ filesystem: ['data'], from, to, format, resumed }, bytes);
        };
        await receive(true);
        const kept = describeTree(join(copy, 'snapshots', one.name));
        fill(left);
        const { code, message } = await failure(receive(false));
        const when = `with ${left} left: ${code} ${message}`;
        ends.push(code === 'no error' ? 'done' : code);
        if (code !== 'no error') {
          expect(message, when).toMatch(/no space left|ENOSPC/i);
          expect(readdirSync(join(copy, 'snapshots')), when).toEqual([one.name]);
        }
        expect(describeTree(join(copy, 'snapshots', one.name)), when).toEqual(kept);
        rmSync(join(disk, 'ballast'), { recursive: true });
        if (code !== 'no error') await receive(false);
        expect(describeTree(join(copy, 'snapshots', two.name)), when).toEqual(describeTree(fixture.sent(two)));
        for (const { name } of [one, two]) expect((await verifySnapshot(copy, name)).damaged, when).toEqual([]);
        expect(readdirSync(join(copy, 'staging')), when).toEqual([]);
        expect(existsSync(join(disk, 'ballast'))).toBe(false);
      }
      // From the first write to the last.
      expect(ends.length).toBeGreaterThan(3);
      expect(ends.at(-1)).toBe('done');
    },
    120_000,
  );
});
