import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { zfsTool } from '../../../src/handlers/zfs/commands-tool.ts';
import { listOurHolds, releaseOurHolds } from '../../../src/handlers/zfs/holds-ours.ts';
import { findHolds, holdSnapshots, releaseSnapshots } from '../../../src/handlers/zfs/holds.ts';
import { holdTag, ownerText } from '../../../src/handlers/zfs/names-ours.ts';
import { contextWith, failure } from '../../support/directory-fixture.ts';
import { ZfsFixture } from '../../support/zfs-fixture.ts';

const owner = { identity: 'test', jobId: 'job' };
const step = holdTag('STEP', owner);

let fixture: ZfsFixture;
beforeEach(async () => {
  fixture = await ZfsFixture.start();
});
afterEach(() => fixture.fake.stop());

function heldBy(tag: string): string[] {
  return fixture
    .holds()
    .filter((text) => text.endsWith(`: ${tag}`))
    .map((text) => text.slice(1, text.indexOf(':')));
}

async function versions(): Promise<FilesystemVersion[]> {
  return fixture.handler().filesystemVersions({ filesystem: fixture.filesystem }, contextWith());
}

describe('a transfer of a job', () => {
  test('holds and marks both ends before the first byte, until it is known to have arrived', async () => {
    const handler = fixture.handler();
    const one = fixture.snapshot('one');
    await fixture.offer(handler, { from: null, to: one }, { jobId: 'job' });
    expect(heldBy(step)).toEqual(['one']);
    expect(fixture.bookmarks()).toEqual(['TENTATIVE one']);
    await fixture.transfer(handler, { from: null, to: one });
    expect(heldBy(step)).toEqual(['one']);
    await fixture.complete(handler, one);
    expect(heldBy(step)).toEqual([]);
    expect(fixture.bookmarks()).toEqual(['CURSOR one']);
  });

  test('moves the cursor step by step, and leaves nothing else', async () => {
    const handler = fixture.handler();
    let from: FilesystemVersion | null = null;
    for (const name of ['one', 'two', 'three', 'four']) {
      const to = fixture.snapshot(name);
      await fixture.transfer(handler, { from, to });
      await fixture.complete(handler, to);
      expect(fixture.bookmarks()).toEqual([`CURSOR ${name}`]);
      expect(fixture.holds()).toEqual([]);
      from = to;
    }
  });

  test('searches a long list of snapshots once, not at every step', async () => {
    const handler = fixture.handler();
    const all = Array.from({ length: 6 }, (_, index) => fixture.snapshot(`v${index}`));
    for (const [index, to] of all.entries()) {
      await fixture.transfer(handler, { from: all[index - 1] ?? null, to });
      await fixture.complete(handler, to);
    }
    expect(fixture.fake.callsOf('list').filter((text) => text.includes('-d 1'))).toHaveLength(1);
  });

  test('the new cursor is there before the former goes: whatever fails, one is there', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await fixture.transfer(fixture.handler(), { from: null, to: one });
    await fixture.complete(fixture.handler(), one);
    await fixture.transfer(fixture.handler(), { from: one, to: two });
    for (let failing = 0; ; failing++) {
      let changes = -1;
      fixture.fake.intercept = ([command = '']) => {
        if (!['bookmark', 'destroy', 'release', 'hold'].includes(command)) return undefined;
        changes += 1;
        return changes === failing ? { status: 1, stderr: 'internal error\n' } : undefined;
      };
      const end = await failure(fixture.complete(fixture.handler(), two));
      expect(fixture.bookmarks().some((text) => text.startsWith('CURSOR'))).toBe(true);
      if (end.code === 'no error') break;
      expect(end.code).toBe('SOURCE_FAILED');
    }
    expect(fixture.bookmarks()).toEqual(['CURSOR two']);
    expect(fixture.holds()).toEqual([]);
  });

  test('after the message of its arrival was lost and both common snapshots destroyed, the next is incremental', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await fixture.transfer(fixture.handler(), { from: null, to: one });
    await fixture.complete(fixture.handler(), one);
    await fixture.transfer(fixture.handler(), { from: one, to: two });
    // A person who really wants them gone.
    fixture.fake.pool.destroy('tank/home', '@one');
    fixture.fake.pool.destroy('tank/home', '@two');
    const three = fixture.snapshot('three');
    // What planning finds in common with a copy that has one and two.
    const base = (await versions()).findLast(({ guid }) => guid === two.guid)!;
    expect(base.type).toBe('bookmark');
    await fixture.transfer(fixture.handler(), { from: base, to: three });
    expect(fixture.fake.callsOf('send').at(-1)).toMatch(
      /^-i tank\/home#snapferry_TENTATIVE_G_[0-9a-f]{16}_I_test_J_job tank\/home@three$/,
    );
    await fixture.complete(fixture.handler(), three);
    expect(fixture.bookmarks()).toEqual(['CURSOR three']);
  });

  test('held snapshots cannot be destroyed meanwhile', async () => {
    const one = fixture.snapshot('one');
    await fixture.offer(fixture.handler(), { from: null, to: one }, { jobId: 'job' });
    const destroyed = await zfsTool({ argv: [fixture.fake.program] })
      .run(['destroy', 'tank/home@one'], { doing: 'destroying' })
      .catch((error: unknown) => error);
    expect(destroyed).toMatchObject({ code: 'BUSY' });
  });

  test('what a crashed run has left is taken back by the next transfer of the job', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await fixture.offer(fixture.handler(), { from: null, to: one }, { jobId: 'job' });
    // Another process.
    await fixture.offer(fixture.handler(), { from: null, to: two }, { jobId: 'job' });
    expect(heldBy(step)).toEqual(['two']);
    expect(fixture.bookmarks()).toEqual(['TENTATIVE two']);
  });

  test('and by the news of an arrival', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await fixture.offer(fixture.handler(), { from: null, to: one }, { jobId: 'job' });
    await fixture.complete(fixture.handler(), two);
    expect(fixture.holds()).toEqual([]);
    expect(fixture.bookmarks()).toEqual(['CURSOR two']);
  });

  test('that fails early leaves nothing behind', async () => {
    const one = fixture.snapshot('one');
    fixture.fake.intercept = ([command]) => (command === 'send' ? { status: 1, stderr: 'no\n' } : undefined);
    await failure(fixture.offer(fixture.handler(), { from: null, to: one }, { jobId: 'job' }));
    expect(fixture.holds()).toEqual([]);
    expect(fixture.bookmarks()).toEqual([]);
  });

  test('one without a job changes nothing', async () => {
    const one = fixture.snapshot('one');
    await fixture.offer(fixture.handler(), { from: null, to: one });
    expect(fixture.fake.calls.map(([command]) => command)).not.toContain('hold');
    expect(fixture.bookmarks()).toEqual([]);
  });

  test('without the right to destroy bookmarks, former cursors stay and everything else goes on', async () => {
    const handler = fixture.handler();
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    fixture.fake.intercept = ([command]) =>
      command === 'destroy' ? { status: 1, stderr: 'cannot destroy bookmark: permission denied\n' } : undefined;
    for (const [from, to] of [
      [null, one],
      [one, two],
    ] as const) {
      await fixture.transfer(handler, { from, to });
      await fixture.complete(handler, to);
    }
    expect(fixture.holds()).toEqual([]);
    expect(fixture.bookmarks()).toEqual(['TENTATIVE one', 'CURSOR one', 'TENTATIVE two', 'CURSOR two']);
    const denied = releaseOurHolds(zfsTool({ argv: [fixture.fake.program] }), { root: 'tank' });
    expect((await failure(denied)).message).toMatch(/permission denied; grant this user/);
    fixture.fake.intercept = () => undefined;
    await fixture.complete(fixture.handler(), two);
    expect(fixture.bookmarks()).toEqual(['CURSOR two']);
  });

  test('a snapshot that goes just before it is held', async () => {
    const one = fixture.snapshot('one');
    fixture.fake.intercept = ([command]) => {
      if (command === 'hold') fixture.fake.pool.destroy('tank/home', '@one');
      return undefined;
    };
    const failed = await failure(fixture.offer(fixture.handler(), { from: null, to: one }, { jobId: 'job' }));
    expect(failed.code).toBe('VERSION_NOT_FOUND');
  });

  test('an impossible job id is refused', async () => {
    const one = fixture.snapshot('one');
    for (const jobId of ['', '-r', 'a b', '../x', 'x'.repeat(101)]) {
      expect(await failure(fixture.offer(fixture.handler(), { from: null, to: one }, { jobId }))).toMatchObject({
        code: 'INVALID_REQUEST',
      });
      expect(await failure(fixture.complete(fixture.handler(), one, jobId))).toMatchObject({ code: 'INVALID_REQUEST' });
    }
    expect(fixture.holds()).toEqual([]);
  });

  test('a cursor that would have too long a name is refused with advice', async () => {
    const dataset = `tank/${'n'.repeat(200)}`;
    fixture.fake.pool.create(dataset);
    fixture.fake.pool.snapshot(dataset, 'one');
    const handler = fixture.handler();
    const [version] = await handler.filesystemVersions({ filesystem: dataset.split('/') }, contextWith());
    const asked = handler.transferCompleted!(
      { filesystem: dataset.split('/'), version: version!, jobId: 'a-job' },
      contextWith(),
    );
    expect(await failure(asked)).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('shorter job id') as string,
    });
  });
});

describe('levels of protection', () => {
  test('incremental: bookmarks, but nothing that costs space', async () => {
    const handler = fixture.handler({ protection: 'incremental' });
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await fixture.transfer(handler, { from: one, to: two });
    expect(fixture.holds()).toEqual([]);
    expect(fixture.bookmarks()).toEqual(['TENTATIVE one', 'TENTATIVE two']);
    await fixture.complete(handler, two);
    expect(fixture.bookmarks()).toEqual(['CURSOR two']);
  });

  test('nothing: the source is never changed', async () => {
    const handler = fixture.handler({ protection: 'nothing' });
    const one = fixture.snapshot('one');
    await fixture.transfer(handler, { from: null, to: one });
    await fixture.complete(handler, one);
    expect(new Set(fixture.fake.calls.map(([command]) => command))).toEqual(new Set(['list', 'send']));
    const unknown = { ...one, guid: 1n };
    expect(await failure(fixture.complete(handler, unknown))).toMatchObject({ code: 'VERSION_NOT_FOUND' });
  });
});

describe('news of an arrival', () => {
  test('told twice, late, or of a version that is only a bookmark', async () => {
    const handler = fixture.handler();
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    for (const version of [one, one, two, two, one]) await fixture.complete(handler, version);
    expect(fixture.bookmarks()).toEqual(['CURSOR two']);
    const three = fixture.snapshot('three');
    const mark = fixture.bookmark(three, 'mark');
    fixture.fake.pool.destroy('tank/home', '@three');
    await fixture.complete(handler, three);
    expect(
      fixture.fake.pool.get('tank/home').bookmarks.map(({ name, guid }) => name === 'mark' || guid === mark.guid),
    ).toEqual([true, true]);
  });

  test('of what is not there', async () => {
    const one = fixture.snapshot('one');
    expect(await failure(fixture.complete(fixture.handler(), { ...one, guid: 3n }))).toMatchObject({
      code: 'VERSION_NOT_FOUND',
    });
    expect(fixture.bookmarks()).toEqual([]);
  });

  test('repeated after the cursor was removed by hand makes it anew', async () => {
    const handler = fixture.handler();
    const one = fixture.snapshot('one');
    await fixture.complete(handler, one);
    fixture.fake.pool.get('tank/home').bookmarks = [];
    await fixture.complete(handler, one);
    expect(fixture.bookmarks()).toEqual(['CURSOR one']);
  });

  test('from two jobs, and from two clients with one job id: each has its own cursor', async () => {
    const handler = fixture.handler();
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await fixture.complete(handler, one, 'a');
    await fixture.complete(handler, two, 'b');
    const other = { ...contextWith(), clientIdentity: 'other' };
    await handler.transferCompleted!({ filesystem: fixture.filesystem, version: one, jobId: 'b' }, other);
    expect(fixture.bookmarks()).toEqual(['CURSOR one', 'CURSOR two', 'CURSOR one']);
  });

  test('and a transfer at the same time do not get in each other’s way', async () => {
    const handler = fixture.handler();
    const all = ['one', 'two', 'three'].map((name) => fixture.snapshot(name));
    await fixture.transfer(handler, { from: null, to: all[0]! });
    await Promise.all([
      fixture.complete(handler, all[0]!),
      fixture.transfer(handler, { from: all[0]!, to: all[1]! }),
      fixture.complete(handler, all[0]!),
    ]);
    await fixture.complete(handler, all[1]!);
    expect(fixture.bookmarks()).toEqual(['CURSOR two']);
    expect(fixture.holds()).toEqual([]);
  });
});

describe('others', () => {
  test('holds and bookmarks of others, also of zrepl and of other jobs, are never touched', async () => {
    const handler = fixture.handler();
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    const [first] = fixture.fake.pool.get('tank/home').snapshots;
    const foreign = [
      'zrepl_STEP_J_job',
      'bars',
      'snapferry_STEP',
      holdTag('STEP', { ...owner, jobId: 'job2' }),
      holdTag('LAST', owner),
    ];
    for (const tag of foreign) first!.holds.add(tag);
    fixture.bookmark(one, 'mine');
    fixture.bookmark(one, `zrepl_CURSOR_G_0000000000000001_J_job`);
    // One of our form, but with the guid of another snapshot in its name.
    fixture.bookmark(one, `snapferry_CURSOR_G_0000000000000001_${ownerText(owner)}`);
    await fixture.transfer(handler, { from: one, to: two });
    await fixture.complete(handler, two);
    expect([...first!.holds].sort()).toEqual([...foreign].sort());
    const names = fixture.fake.pool.get('tank/home').bookmarks.map(({ name }) => name);
    expect(names).toHaveLength(4);
    expect(names.slice(0, 2)).toEqual(['mine', 'zrepl_CURSOR_G_0000000000000001_J_job']);
  });

  test('a client cannot fill a dataset with cursors of ever new jobs', async () => {
    const one = fixture.snapshot('one');
    const handler = fixture.handler();
    for (let job = 0; job < 64; job++) {
      const name = `snapferry_CURSOR_G_${one.guid.toString(16).padStart(16, '0')}_${ownerText({ identity: 'test', jobId: `job${job}` })}`;
      fixture.bookmark(one, name);
    }
    expect(await failure(fixture.complete(handler, one, 'another'))).toMatchObject({ code: 'INVALID_REQUEST' });
    expect(await failure(fixture.offer(handler, { from: null, to: one }, { jobId: 'another' }))).toMatchObject({
      code: 'INVALID_REQUEST',
    });
    await fixture.complete(handler, one, 'job7');
    const other = { ...contextWith(), clientIdentity: 'other' };
    await handler.transferCompleted!({ filesystem: fixture.filesystem, version: one, jobId: 'another' }, other);
    expect(fixture.fake.pool.get('tank/home').bookmarks).toHaveLength(65);
  });
});

describe('raw and decrypted streams', () => {
  const decrypting = { send: { encrypted: false } };

  beforeEach(() => {
    fixture.fake.pool.get('tank/home').isEncrypted = true;
  });

  test('are not mixed: the base of an incremental was sent the same way', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await fixture.transfer(fixture.handler(), { from: null, to: one });
    await fixture.complete(fixture.handler(), one);
    expect(fixture.bookmarks()).toEqual(['CURSOR_RAW one']);
    const refused = await failure(fixture.transfer(fixture.handler(decrypting), { from: one, to: two }));
    expect(refused.code).toBe('STREAM_FORMAT_MISMATCH');
    expect(refused.message).toMatch(
      /tank\/home@one was sent raw.*set the send option "encrypted" back to true, or replicate .* new target/,
    );
    await fixture.transfer(fixture.handler(), { from: one, to: two });
    await fixture.complete(fixture.handler(), two);
    expect(fixture.bookmarks()).toEqual(['CURSOR_RAW two']);
  });

  test('the other way round, too, and also if the arrival was never heard of', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await fixture.transfer(fixture.handler(decrypting), { from: null, to: one });
    expect(await failure(fixture.transfer(fixture.handler(), { from: one, to: two }))).toMatchObject({
      code: 'STREAM_FORMAT_MISMATCH',
    });
  });

  test('a new beginning may be of the other form', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await fixture.transfer(fixture.handler(), { from: null, to: one });
    await fixture.complete(fixture.handler(), one);
    const handler = fixture.handler(decrypting);
    await fixture.transfer(handler, { from: null, to: one });
    await fixture.complete(handler, one);
    expect(fixture.bookmarks()).toEqual(['CURSOR one']);
    await fixture.transfer(handler, { from: one, to: two });
    await fixture.complete(handler, two);
    expect(fixture.bookmarks()).toEqual(['CURSOR two']);
  });

  test('where nothing is encrypted, raw or not is the same', async () => {
    fixture.fake.pool.get('tank/home').isEncrypted = false;
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await fixture.transfer(fixture.handler({ send: { raw: true } }), { from: null, to: one });
    await fixture.complete(fixture.handler(), one);
    await fixture.transfer(fixture.handler(), { from: one, to: two });
    expect(fixture.bookmarks()).toEqual(['CURSOR one', 'TENTATIVE two']);
  });
});

describe('tools that are not idempotent', () => {
  test('hold and release, repeated, on what is gone, and on many', async () => {
    const tool = zfsTool({ argv: [fixture.fake.program] });
    for (let index = 0; index < 250; index++) fixture.snapshot(`v${index}`);
    const names = Array.from({ length: 250 }, (_, index) => `tank/home@v${index}`);
    await holdSnapshots(tool, step, names.slice(0, 120));
    // The good ones are done although the exit status is 1.
    await holdSnapshots(tool, step, names);
    expect(heldBy(step)).toHaveLength(250);
    expect(await findHolds(tool, [...names, 'tank/home@gone'])).toHaveLength(250);
    fixture.fake.pool.destroy('tank/home', '@v3');
    await releaseSnapshots(tool, step, names);
    await releaseSnapshots(tool, step, names);
    expect(fixture.holds()).toEqual([]);
    expect(await findHolds(tool, ['tank/home@gone'])).toEqual([]);
    const failed = await failure(holdSnapshots(tool, step, ['tank/home@v1', 'tank/home@gone']));
    expect(failed.code).toBe('VERSION_NOT_FOUND');
    expect(heldBy(step)).toEqual(['v1']);
  });

  test('a tag of 256 bytes never reaches zfs', async () => {
    const tool = zfsTool({ argv: [fixture.fake.program] });
    fixture.snapshot('one');
    await expect(holdSnapshots(tool, 't'.repeat(256), ['tank/home@one'])).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
    });
    expect(fixture.fake.calls).toEqual([]);
    await holdSnapshots(tool, 't'.repeat(255), ['tank/home@one']);
    expect(fixture.holds()).toEqual([`@one: ${'t'.repeat(255)}`]);
  });
});

describe('listing and releasing what is ours', () => {
  async function someOfEach(): Promise<void> {
    const { pool } = fixture.fake;
    pool.create('tank/home/ann');
    const handler = fixture.handler();
    const one = fixture.snapshot('one');
    await fixture.transfer(handler, { from: null, to: one }, 'a');
    await fixture.complete(handler, one, 'b');
    pool.snapshot('tank/home/ann', 'deep').holds.add(holdTag('LAST', { identity: 'web 1', jobId: 'a' }));
    pool.snapshot('tank/home/ann', 'foreign').holds.add('zrepl_STEP_J_a');
    fixture.bookmark(one, 'mine');
  }

  const tool = () => zfsTool({ argv: [fixture.fake.program] });

  test('lists all below a root, with what for and for whom', async () => {
    await someOfEach();
    const traces = await listOurHolds(tool(), { root: 'tank' });
    expect(traces.map(({ dataset, kind, owner: text, tag }) => [dataset, kind, text, tag !== null])).toEqual(
      expect.arrayContaining([
        ['tank/home', 'STEP', 'I_test_J_a', true],
        ['tank/home/ann', 'LAST', 'I_web:201_J_a', true],
        ['tank/home', 'TENTATIVE', 'I_test_J_a', false],
        ['tank/home', 'CURSOR', 'I_test_J_b', false],
      ]),
    );
    expect(traces).toHaveLength(4);
    expect(await listOurHolds(tool(), { root: 'tank/home/ann' })).toHaveLength(1);
  });

  test.each([
    [{ jobId: 'a' }, 3],
    [{ jobId: 'b' }, 1],
    [{ jobId: 'A' }, 0],
    [{ identity: 'test' }, 3],
    [{ identity: 'web 1' }, 1],
    [{ identity: 'web' }, 0],
    [{ identity: 'test', jobId: 'a' }, 2],
    [{ kinds: ['STEP', 'LAST'] as const }, 2],
  ])('of %j there are %i, and releasing removes them and nothing else', async (filter, count) => {
    await someOfEach();
    expect(await releaseOurHolds(tool(), { root: 'tank', ...filter })).toHaveLength(count);
    expect(await listOurHolds(tool(), { root: 'tank' })).toHaveLength(4 - count);
    expect(await releaseOurHolds(tool(), { root: 'tank', ...filter })).toHaveLength(0);
    expect(fixture.fake.pool.holds()).toContain('tank/home/ann@foreign: zrepl_STEP_J_a');
    expect(fixture.fake.pool.get('tank/home').bookmarks.map(({ name }) => name)).toContain('mine');
  });

  test('of a dataset that is not there', async () => {
    expect(await failure(listOurHolds(tool(), { root: 'tank/gone' }))).toMatchObject({ code: 'DATASET_NOT_FOUND' });
    await expect(listOurHolds(tool(), { root: '-r' })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });
});
