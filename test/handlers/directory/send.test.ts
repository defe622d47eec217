import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodeResumeToken } from '../../../src/handlers/directory/resume-token.ts';
import { openStore } from '../../../src/handlers/directory/store.ts';
import {
  childrenAlive,
  collect,
  contextWith,
  describeTree,
  DirectoryFixture,
  failure,
  filesystem,
  lend,
} from '../../support/directory-fixture.ts';

let fixture: DirectoryFixture;
beforeEach(() => {
  fixture = new DirectoryFixture();
});
afterEach(() => fixture.cleanup());

const at = (path: string): string => join(fixture.source, path);

function makeTree(): void {
  mkdirSync(at('d'));
  writeFileSync(at('d/file'), 'content');
  linkSync(at('d/file'), at('d/second'));
  linkSync(at('d/file'), at('zz'));
  symlinkSync('nowhere', at('d/link'));
  writeFileSync(Buffer.from(`${fixture.source}/\xff\n`, 'latin1'), 'raw');
  for (let i = 0; i < 200; i++) writeFileSync(at(`d/f${i}`), Buffer.alloc(10_000, `content ${i} `));
}

test('a captured full stream extracts with plain tar -x, hard links included', async () => {
  makeTree();
  const version = await fixture.snapshot();
  const stream = await fixture.stream(null, version);
  const target = mkdtempSync(join(fixture.root, 'extract-'));
  execFileSync('tar', ['-x', '-p', '-C', target], { input: stream });
  expect(readdirSync(join(target, '.snapferry'))).toEqual(['stream.jsonl']);
  rmSync(join(target, '.snapferry'), { recursive: true });
  execFileSync('touch', ['-r', fixture.sent(version), target]);
  expect(describeTree(target)).toEqual(describeTree(fixture.sent(version)));
});

test('an incremental stream has what changed and little else', async () => {
  makeTree();
  const one = await fixture.snapshot();
  writeFileSync(at('d/f7'), Buffer.alloc(10_000, 'changed'));
  unlinkSync(at('d/f8'));
  const two = await fixture.snapshot();
  const stream = await fixture.stream(one, two);
  expect(stream.length).toBeLessThan(10_000 + 15_000);
  expect(stream.includes('changed')).toBe(true);
  expect(stream.includes('content')).toBe(false);
});

test('a link to an unchanged file travels without its content', async () => {
  writeFileSync(at('large'), Buffer.alloc(1_000_000, 'x'));
  const one = await fixture.snapshot();
  await fixture.transfer(null, one);
  linkSync(at('large'), at('later'));
  const two = await fixture.snapshot();
  const stream = await fixture.stream(one, two);
  expect(stream.length).toBeLessThan(20_000);
  await fixture.receive(one, two, lend(stream));
  expect(describeTree(fixture.copied(two))).toEqual(describeTree(fixture.sent(two)));
});

test('what was renamed, copied, touched or given another mode travels without its content', async () => {
  mkdirSync(at('photos'));
  for (let i = 0; i < 50; i++) writeFileSync(at(`photos/${i}`), Buffer.alloc(20_000, `picture ${i} `));
  const sparse = openSync(at('photos/sparse'), 'w');
  writeSync(sparse, Buffer.alloc(4096, 'S'), 0, 4096, 1 << 20);
  ftruncateSync(sparse, 3 << 20);
  closeSync(sparse);
  linkSync(at('photos/1'), at('linked'));
  writeFileSync(at('mode'), Buffer.alloc(50_000, 'mode'));
  writeFileSync(at('time'), Buffer.alloc(50_000, 'time'));
  const one = await fixture.snapshot();
  await fixture.transfer(null, one);
  const before = describeTree(fixture.copied(one));
  renameSync(at('photos'), at('pictures'));
  copyFileSync(at('pictures/7'), at('copy of 7'));
  chmodSync(at('mode'), 0o600);
  utimesSync(at('time'), 5, 5);
  writeFileSync(at('new'), 'entirely new');
  const two = await fixture.snapshot();
  const stream = await fixture.stream(one, two);
  // 55 names at 1.5 KiB for tar and a third of that for the list.
  expect(stream.length).toBeLessThan(130_000);
  expect(stream.includes('picture 7 ')).toBe(false);
  expect(stream.includes('entirely new')).toBe(true);
  await fixture.receive(one, two, lend(stream));
  expect(describeTree(fixture.copied(two))).toEqual(describeTree(fixture.sent(two)));
  expect(statSync(join(fixture.copied(two), 'pictures/sparse')).blocks).toBeLessThan(1000);
  expect(describeTree(fixture.copied(one))).toEqual(before);
  expect(childrenAlive()).toEqual([]);
});

test('a content that the base no longer has as its manifest says is not taken from there', async () => {
  writeFileSync(at('old name'), 'content');
  const one = await fixture.snapshot();
  await fixture.transfer(null, one);
  renameSync(at('old name'), at('new name'));
  const two = await fixture.snapshot();
  const stream = await fixture.stream(one, two);
  writeFileSync(join(fixture.copied(one), 'old name'), 'damaged');
  expect(await failure(fixture.receive(one, two, lend(stream)))).toMatchObject({ code: 'DIGEST_MISMATCH' });
  unlinkSync(join(fixture.copied(one), 'old name'));
  expect(await failure(fixture.receive(one, two, lend(stream)))).toMatchObject({ code: 'SOURCE_FAILED' });
  expect(childrenAlive()).toEqual([]);
});

test('the delta may start from a bookmark, whose files are gone', async () => {
  makeTree();
  const one = await fixture.snapshot();
  await fixture.transfer(null, one);
  await fixture.handler.transferCompleted!({ filesystem, version: one, jobId: 'job' }, contextWith());
  writeFileSync(at('d/f7'), 'changed');
  const two = await fixture.snapshot();
  // What a prune does.
  rmSync(fixture.sent(one), { recursive: true });
  const versions = await fixture.handler.filesystemVersions({ filesystem }, contextWith());
  expect(versions.map(({ type, name }) => [type, name])).toEqual([
    ['bookmark', 'snapferry_cursor_job'],
    ['snapshot', two.name],
  ]);
  const stream = await fixture.stream(versions[0]!, two);
  expect(stream.length).toBeLessThan(20_000);
  await fixture.receive(versions[0]!, two, lend(stream));
  expect(describeTree(fixture.copied(two))).toEqual(describeTree(fixture.sent(two)));
  // A bookmark has nothing to send.
  expect(await failure(fixture.offer(null, versions[0]!))).toMatchObject({ code: 'VERSION_NOT_FOUND' });
  expect(await failure(fixture.offer(null, { ...one }))).toMatchObject({
    code: 'VERSION_NOT_FOUND',
    message: expect.stringContaining('only as a bookmark') as string,
  });
});

test('the estimate is near', async () => {
  makeTree();
  const one = await fixture.snapshot();
  const { length } = await fixture.stream(null, one);
  const request = { filesystem, from: null, to: one };
  const estimate = await fixture.handler.transferEstimate!(request, contextWith());
  expect((await fixture.offer(null, one)).estimatedBytes).toBe(estimate);
  expect(estimate!).toBeGreaterThan(length * 0.8);
  expect(estimate!).toBeLessThan(length * 1.2);
});

test('what is not there is named together with what is', async () => {
  const one = await fixture.snapshot();
  const unknown = { ...one, name: 'other', guid: one.guid ^ 1n };
  const offers = [
    () => fixture.offer(null, unknown),
    () => fixture.offer(unknown, one),
    () => fixture.offer(one, unknown),
  ];
  for (const offer of offers) {
    const { code, message } = await failure(offer());
    expect(code).toBe('VERSION_NOT_FOUND');
    expect(message).toContain(`@${one.name}`);
  }
});

test('a version is found by its guid, whatever it is called', async () => {
  writeFileSync(at('file'), 'x');
  const one = await fixture.snapshot();
  await fixture.receive(null, one, lend(await fixture.stream(null, { ...one, name: 'renamed' })));
  expect(describeTree(fixture.copied(one))).toEqual(describeTree(fixture.sent(one)));
});

describe('the sending tar', () => {
  test('is stopped and reaped when the consumer stops', async () => {
    writeFileSync(at('large'), Buffer.alloc(20_000_000));
    const version = await fixture.snapshot();
    let pieces = 0;
    for await (const piece of (await fixture.offer(null, version)).bytes) {
      expect(piece.length).toBeGreaterThan(0);
      // The list comes first, tar's own output later.
      if (++pieces === 6) {
        expect(childrenAlive()).toHaveLength(1);
        break;
      }
    }
    expect(childrenAlive()).toEqual([]);
  });

  test('is stopped and reaped when the request is cancelled', async () => {
    writeFileSync(at('large'), Buffer.alloc(20_000_000));
    const version = await fixture.snapshot();
    const abort = new AbortController();
    const transfer = await fixture.offer(null, version, undefined, abort.signal);
    let pieces = 0;
    const consume = async (): Promise<void> => {
      for await (const piece of transfer.bytes) {
        expect(piece.length).toBeGreaterThan(0);
        if (++pieces === 6) abort.abort();
      }
    };
    expect(await failure(consume())).toMatchObject({ code: 'CANCELLED' });
    expect(childrenAlive()).toEqual([]);
  });

  test('fails the stream in its own words', async () => {
    makeTree();
    const version = await fixture.snapshot();
    const transfer = await fixture.offer(null, version);
    unlinkSync(join(fixture.sent(version), 'd/f100'));
    expect(await failure(collect(transfer.bytes))).toMatchObject({
      code: 'SOURCE_FAILED',
      message: expect.stringMatching(/d\/f100: Cannot (stat|open): No such file/) as string,
    });
    expect(childrenAlive()).toEqual([]);
  });

  test('does not mind that the next snapshot links what it reads', async () => {
    writeFileSync(at('large'), Buffer.alloc(20_000_000, 'x'));
    const version = await fixture.snapshot();
    const { bytes } = await fixture.offer(null, version);
    const slowly = (async function* () {
      let pieces = 0;
      for await (const piece of bytes) {
        yield piece;
        if (++pieces === 6) linkSync(join(fixture.sent(version), 'large'), join(fixture.root, 'linked'));
        await turn();
      }
    })();
    await fixture.receive(null, version, slowly);
    expect(describeTree(fixture.copied(version))).toEqual(describeTree(fixture.sent(version)));
  });

  test('needs no lock', async () => {
    const version = await fixture.snapshot();
    const store = await openStore(fixture.source);
    await store.withLock(async () => {
      expect((await fixture.stream(null, version)).length).toBeGreaterThan(0);
    });
  });
});

describe('a resume token', () => {
  const step = { from: null, delta: '0'.repeat(64), next: 0 };

  test.each([
    ['empty', ''],
    ['not base64url', '!!!!'],
    ['not JSON', Buffer.from('{"v":1').toString('base64url')],
    ['null', Buffer.from('null').toString('base64url')],
    ['of another version', Buffer.from('{"v":2}').toString('base64url')],
    ['with a negative count', encodeResumeToken({ ...step, to: 1n, next: -1 })],
    ['with a guid beyond 64 bits', encodeResumeToken({ ...step, to: 1n << 64n })],
    ['with another digest', encodeResumeToken({ ...step, to: 1n, delta: 'x'.repeat(64) })],
    ['of endless length', 'A'.repeat(100_000)],
  ])('that is %s is refused', async (_, token) => {
    const version = await fixture.snapshot();
    expect(await failure(fixture.offer(null, version, token))).toMatchObject({ code: 'RESUME_TOKEN_INVALID' });
  });

  test('of another step is ignored', async () => {
    const version = await fixture.snapshot();
    const token = encodeResumeToken({ ...step, to: version.guid });
    expect((await fixture.offer(null, version, token)).resumed).toBe(false);
  });
});
