import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SnapferryError } from '../../../src/errors.ts';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import { zfsTool } from '../../../src/handlers/zfs/commands-tool.ts';
import { placeholderProperty } from '../../../src/handlers/zfs/names-ours.ts';
import { zfsSink } from '../../../src/handlers/zfs/sink.ts';
import type { ZfsSinkOptions } from '../../../src/handlers/zfs/sink.ts';
import type { TransferBytes } from '../../../src/sink.ts';
import { collect } from '../../support/directory-fixture.ts';
import type { Outcome } from '../../support/fake-zfs-pool.ts';
import { recordedStream } from '../../support/zfs-recordings.ts';
import { ZfsFixture } from '../../support/zfs-fixture.ts';

/** What a real `zfs` (2.1.11) said when something was wrong. */
const words = JSON.parse(
  readFileSync(new URL('../../fixtures/zfs/receive-words.json', import.meta.url), 'utf8'),
) as Record<string, string>;

function said(what: string): string {
  const text = words[what];
  if (text === undefined) throw new Error(`nothing was recorded about "${what}"`);
  return text;
}

let fixture: ZfsFixture;
beforeEach(async () => {
  fixture = await ZfsFixture.start();
  fixture.fake.pool.create('backup');
});
afterEach(() => fixture.fake.stop());

/** What a promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<SnapferryError> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof SnapferryError) return error;
  throw new Error('it did not fail as it should', { cause: error });
}

const copy = 'backup/home';
const filesystem = ['home'];
const sinkOf = (options: Partial<ZfsSinkOptions> = {}) =>
  zfsSink({
    locate: (path) => ['backup', ...path].join('/'),
    tool: zfsTool({ argv: [fixture.fake.program] }),
    ...options,
  });

/** A transfer as the source sends it. */
async function streamOf(from: FilesystemVersion | null, to: FilesystemVersion): Promise<Buffer> {
  return collect((await fixture.offer(fixture.handler(), { from, to })).bytes);
}

// eslint-disable-next-line @typescript-eslint/require-await -- what a transfer's bytes are
async function* given(bytes: Uint8Array): TransferBytes {
  yield bytes;
}

async function receive(
  from: FilesystemVersion | null,
  to: FilesystemVersion,
  options: Partial<ZfsSinkOptions> = {},
  bytes?: Uint8Array,
) {
  const stream = bytes ?? (await streamOf(from, to));
  return sinkOf(options).receive({ filesystem, from, to, format: 'zfs', resumed: false }, given(stream));
}

/** The arguments of the receives of streams so far. */
const receives = () => fixture.fake.callsOf('recv').filter((args) => !args.startsWith('-A'));

/** From now on the calls of a command end in this way, without anything being done, or after it was. */
function answer(command: string, outcome: Outcome): void {
  fixture.fake.intercept = (args) => (args[0] === command ? outcome : undefined);
}

describe('what zfs recv is asked', () => {
  test('resumable, unmounted, read-only, under the name that was agreed on; never -F', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    await receive(null, one);
    await receive(one, two);
    expect(receives()).toEqual([`-s -u -o readonly=on ${copy}@one`, `-s -u -o readonly=on ${copy}@two`]);
  });

  test('properties of this side are set or inherited; a value of one’s own for readonly counts', async () => {
    const one = fixture.snapshot('one');
    await receive(null, one, {
      properties: { override: { 'org.example:by': 'a b', readonly: 'off' }, inherit: ['compression'] },
    });
    expect(receives()).toEqual([`-s -u -o readonly=off -o org.example:by=a b -x compression ${copy}@one`]);
  });

  test('readonly can be inherited', async () => {
    await receive(null, fixture.snapshot('one'), { properties: { inherit: ['readonly'] } });
    expect(receives()).toEqual([`-s -u -x readonly ${copy}@one`]);
  });

  test.each([
    { override: { '-o': 'x' } },
    { override: { 'a=b': 'x' } },
    { override: { compression: 'a\nb' } },
    { inherit: ['--all'] },
    { inherit: ['readonly'], override: { readonly: 'on' } },
    { trusted: ['x '] },
  ])('properties %j are refused', (properties) => {
    expect(() => sinkOf({ properties })).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }) as Error);
  });

  test('properties that come with a stream are left out, or guarded if they are wanted', async () => {
    const to = { ...fixture.snapshot('base'), guid: 9518794559622867999n };
    answer('recv', { status: 0 });
    await failure(receive(null, to, {}, recordedStream('full-props')));
    await failure(receive(null, to, { properties: { fromSender: true } }, recordedStream('full-props')));
    await failure(
      receive(null, to, { properties: { fromSender: true, trusted: ['mountpoint'] } }, recordedStream('full-props')),
    );
    const [plain, guarded, trusted] = receives();
    expect(plain).toBe(`-s -u -o readonly=on ${copy}@base`);
    for (const name of [
      'mountpoint',
      'canmount',
      'sharenfs',
      'sharesmb',
      'setuid',
      'exec',
      'devices',
      placeholderProperty,
    ]) {
      expect(guarded).toContain(`-x ${name} `);
    }
    expect(guarded).not.toContain('-x readonly');
    expect(trusted).not.toContain('-x mountpoint');
    expect(trusted).toContain('-x canmount');
  });
});

describe('what was received decides, not the exit status', () => {
  test('exit 1, and the snapshot is there: complete, with a notice', async () => {
    const one = fixture.snapshot('one');
    // The real one fails after the fact; here the fact comes from another receive.
    await receive(null, one);
    const two = fixture.snapshot('two');
    const rest = await streamOf(one, two);
    await receive(one, two);
    answer('recv', { status: 1, stderr: said('not mounted') });
    const { notices } = await receive(one, two, {}, rest);
    expect(notices).toEqual([expect.stringContaining('failed to create mountpoint')]);
  });

  test('exit 0, and a property could not be set: complete, with a notice', async () => {
    const one = fixture.snapshot('one');
    await receive(null, one);
    const two = fixture.snapshot('two');
    const rest = await streamOf(one, two);
    await receive(one, two);
    answer('recv', { status: 0, stderr: said('property not set') });
    const { notices } = await receive(one, two, {}, rest);
    expect(notices).toEqual([expect.stringContaining('cannot receive refquota')]);
  });

  test('exit 0, and it is not there: an error', async () => {
    const one = fixture.snapshot('one');
    const stream = await streamOf(null, one);
    answer('recv', { status: 0, stderr: 'nothing to see here\n' });
    expect(await failure(receive(null, one, {}, stream))).toMatchObject({
      code: 'INTERNAL',
      message: expect.stringContaining('nothing to see here') as string,
    });
  });
});

describe('what stands in the way', () => {
  async function refusedWith(stderr: string) {
    const one = fixture.snapshot('one');
    await receive(null, one);
    const two = fixture.snapshot('two');
    const stream = await streamOf(one, two);
    answer('recv', { status: 1, stderr });
    return failure(receive(one, two, {}, stream));
  }

  test('changes at the target: how to look at them and how to undo them', async () => {
    const error = await refusedWith(said('changed'));
    expect(error).toMatchObject({ code: 'INVALID_REQUEST', retryable: false });
    expect(error.message).toContain(`"zfs rollback ${copy}@one"`);
    expect(error.message).toContain(`"zfs diff ${copy}@one ${copy}"`);
  });

  test('changes and newer snapshots at the target: no rollback that would destroy them is advised first', async () => {
    const one = fixture.snapshot('one');
    await receive(null, one);
    fixture.fake.pool.snapshot(copy, 'mine');
    const two = fixture.snapshot('two');
    const stream = await streamOf(one, two);
    answer('recv', { status: 1, stderr: said('changed') });
    const { message } = await failure(receive(one, two, {}, stream));
    expect(message).toContain(`${copy}@mine`);
    expect(message).not.toContain('rollback -r');
  });

  test.each([
    ['raw onto plain', 'INVALID_REQUEST', 'choose another place'],
    ['pool full', 'INTERNAL', 'kept'],
    ['nothing to resume', 'RESUME_TOKEN_INVALID', 'run again'],
    ['receive running', 'BUSY', 'partially-complete'],
    ['no base', 'VERSION_NOT_FOUND', 'compare both sides'],
    ['no permission', 'INTERNAL', 'zfs allow'],
  ])('"%s" is %s and says what to do', async (name, code, text) => {
    const error = await refusedWith(said(name));
    expect(error).toMatchObject({ code });
    expect(error.message).toContain(text);
  });

  test('a dataset that is there and no copy: untouched', async () => {
    fixture.fake.pool.create(copy);
    const one = fixture.snapshot('one');
    expect(await sinkOf().filesystemVersions(filesystem)).toEqual([]);
    const error = await failure(receive(null, one));
    expect(error).toMatchObject({ code: 'INVALID_REQUEST' });
    expect(error.message).toContain(`zfs rename ${copy}`);
    expect(receives()).toEqual([]);
    expect(fixture.fake.pool.datasets.has(copy)).toBe(true);
  });
});

describe('streams that are not what was agreed on reach no zfs', () => {
  test.each([
    ['another snapshot', () => ({ from: null, to: 'two' as const, sent: 'one' as const })],
    ['a full one for an increment', () => ({ from: 'one' as const, to: 'two' as const, sent: 'two' as const })],
  ])('%s', async (_, choose) => {
    const versions = { one: fixture.snapshot('one'), two: fixture.snapshot('two') };
    const { from, to, sent } = choose();
    await receive(null, versions.one);
    const before = receives().length;
    if (from === null) fixture.fake.pool.datasets.delete(copy);
    const stream = await streamOf(null, versions[sent]);
    const error = await failure(receive(from && versions[from], versions[to], {}, stream));
    expect(error).toMatchObject({ code: 'PROTOCOL_VIOLATION', connectionDead: false });
    expect(receives()).toHaveLength(before);
  });

  test('a stream that claims to go on', async () => {
    const one = fixture.snapshot('one');
    const stream = await streamOf(null, one);
    const request = { filesystem, from: null, to: one, format: 'zfs', resumed: true };
    expect(await failure(sinkOf().receive(request, given(stream)))).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
    expect(receives()).toEqual([]);
  });
});

describe('the hold on the newest', () => {
  const held = () =>
    fixture.fake.pool.get(copy).snapshots.map(({ name, holds }) => `${name}: ${[...holds].join(' ')}`.trim());

  test('is moved: the new one is held before the old one is let go; other tags stay', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    const options = { jobId: 'nightly', identity: 'web1' };
    const tag = 'snapferry_LAST_I_web1_J_nightly';
    await receive(null, one, options);
    expect(held()).toEqual([`one: ${tag}`]);
    fixture.fake.pool.get(copy).snapshots[0]!.holds.add('mine');
    await receive(one, two, { ...options, jobId: 'other' });
    expect(held()).toEqual([`one: ${tag} mine`, 'two: snapferry_LAST_I_web1_J_other']);
    const three = fixture.snapshot('three');
    const callsBefore = fixture.fake.calls.length;
    await receive(two, three, options);
    expect(held()).toEqual(['one: mine', 'two: snapferry_LAST_I_web1_J_other', `three: ${tag}`]);
    const moves = fixture.fake.calls
      .slice(callsBefore)
      .flatMap(([name = '']) => (/^(hold|release)$/.test(name) ? name : []));
    expect(moves).toEqual(['hold', 'release']);
  });

  test('that cannot be had does not make what was received undone', async () => {
    const one = fixture.snapshot('one');
    const stream = await streamOf(null, one);
    answer('hold', { status: 1, stderr: said('no permission to hold') });
    const { notices } = await receive(null, one, { jobId: 'nightly' }, stream);
    expect(notices).toEqual([expect.stringMatching(/@one is complete, but .*zfs allow/)]);
  });
});

describe('an interrupted receive', () => {
  async function interrupt(to: FilesystemVersion): Promise<void> {
    const stream = await streamOf(null, to);
    // eslint-disable-next-line @typescript-eslint/require-await -- what a transfer's bytes are
    const cut = async function* (): TransferBytes {
      yield stream.subarray(0, stream.length / 2);
      throw new Error('the cable was pulled out');
    };
    const request = { filesystem, from: null, to, format: 'zfs', resumed: false };
    await expect(sinkOf().receive(request, cut())).rejects.toThrow('the cable was pulled out');
  }
  const big = (name: string) => fixture.snapshot(name, Buffer.alloc(500_000, name));

  test('is no copy, but something to go on from', async () => {
    const one = big('one');
    await interrupt(one);
    expect(await sinkOf().filesystemVersions(filesystem)).toBeNull();
    expect(await sinkOf().resumeState(filesystem)).toMatchObject({ fromGuid: null, toGuid: one.guid });
  });

  test('is in nobody’s way: what is begun anew takes its place', async () => {
    await interrupt(big('one'));
    const two = big('two');
    await receive(null, two);
    expect(fixture.fake.callsOf('recv')).toContain(`-A ${copy}`);
    expect(await sinkOf().filesystemVersions(filesystem)).toMatchObject([{ name: 'two', guid: two.guid }]);
  });

  test('with a token that cannot be read is nothing to go on from', async () => {
    await interrupt(big('one'));
    fixture.fake.intercept = (args) =>
      args[0] === 'get' && args.includes('receive_resume_token')
        ? { status: 0, stdout: '2-what-is-this\n' }
        : undefined;
    expect(await sinkOf().resumeState(filesystem)).toBeNull();
  });

  test('that runs elsewhere is neither discarded nor disturbed', async () => {
    const one = big('one');
    await interrupt(one);
    fixture.fake.pool.get(copy).isReceiving = true;
    expect(await failure(sinkOf().discardPartial(filesystem))).toMatchObject({ code: 'BUSY', retryable: true });
    expect(await failure(receive(null, one))).toMatchObject({ code: 'BUSY', retryable: true });
    expect(fixture.fake.pool.get(copy).partial).not.toBeNull();
  });
});

describe('placeholders', () => {
  const deep = ['web1', 'tank', 'home'];
  const placeholders = () => [...fixture.fake.pool.datasets.keys()].filter((name) => name.startsWith('backup/'));

  test('missing parents are made, marked, never mounted; what is there stays as it is', async () => {
    fixture.fake.pool.create('backup/web1');
    await sinkOf().createParents(deep);
    expect(placeholders()).toEqual(['backup/web1', 'backup/web1/tank']);
    expect(fixture.fake.callsOf('create')).toEqual([
      `-o canmount=off -o mountpoint=none -o readonly=on -o ${placeholderProperty}=on backup/web1/tank`,
    ]);
    await sinkOf().createParents(deep);
    expect(fixture.fake.callsOf('create')).toHaveLength(1);
  });

  test('a pool that is not there is said to be that', async () => {
    const sink = sinkOf({ locate: (path) => ['nopool', ...path].join('/') });
    const error = await failure(sink.createParents(deep));
    expect(error).toMatchObject({ code: 'DATASET_NOT_FOUND' });
    expect(error.message).toContain('zpool import nopool');
  });

  test('below an encrypted dataset somebody has to choose', async () => {
    fixture.fake.pool.get('backup').isEncrypted = true;
    const error = await failure(sinkOf().createParents(deep));
    expect(error).toMatchObject({ code: 'INVALID_REQUEST' });
    expect(error.message).toMatch(/"inherit".*"off"/);
    expect(placeholders()).toEqual([]);
    await sinkOf({ placeholder: { encryption: 'off' } }).createParents(['a', 'b']);
    await sinkOf({ placeholder: { encryption: 'inherit' } }).createParents(['c', 'd']);
    const [off, inherit] = fixture.fake.callsOf('create');
    expect(off).toMatch(/-o encryption=off backup\/a$/);
    expect(inherit).not.toContain('encryption');
  });

  test('made although "zfs create" failed, as without the right to mount', async () => {
    fixture.fake.intercept = (args) => {
      if (args[0] !== 'create') return undefined;
      fixture.fake.pool.create(args.at(-1)!).properties.set(placeholderProperty, 'on');
      return { status: 1, stderr: 'filesystem successfully created, but not mounted\n' };
    };
    await sinkOf().createParents(deep);
    expect(placeholders()).toEqual(['backup/web1', 'backup/web1/tank']);
  });

  test('not made, what "zfs create" said is the error', async () => {
    answer('create', { status: 1, stderr: said('no permission to create') });
    const error = await failure(sinkOf().createParents(deep));
    expect(error.message).toContain('permission denied');
  });

  test('is no copy, and gives way to one by force; only then is anything forced', async () => {
    await sinkOf().createParents(['home', 'child']);
    expect(await sinkOf().filesystemVersions(filesystem)).toBeNull();
    await receive(null, fixture.snapshot('one'));
    expect(receives()).toEqual([`-s -u -F -o readonly=on ${copy}@one`]);
    expect(fixture.fake.pool.get(copy).properties.has(placeholderProperty)).toBe(false);
  });

  test.each([
    ['has a snapshot', () => void fixture.fake.pool.snapshot(copy, 'x')],
    ['can be mounted', () => void fixture.fake.pool.get(copy).properties.set('canmount', 'on')],
    ['is only marked above', () => void fixture.fake.pool.get(copy).properties.delete(placeholderProperty)],
  ])('that %s is none any more, and is left alone', async (_, change) => {
    await sinkOf().createParents(['home', 'child']);
    change();
    expect(await failure(receive(null, fixture.snapshot('one')))).toMatchObject({ code: 'INVALID_REQUEST' });
    expect(receives()).toEqual([]);
  });
});
