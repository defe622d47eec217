import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import type { ZfsSendOptions } from '../../../src/handlers/zfs/send-options.ts';
import { childrenAlive, collect, contextWith, failure } from '../../support/directory-fixture.ts';
import { recordedStream, replayed } from '../../support/zfs-recordings.ts';
import { ZfsFixture } from '../../support/zfs-fixture.ts';
import { tokenOf } from '../../support/zfs-token.ts';

let fixture: ZfsFixture;
beforeEach(async () => {
  fixture = await ZfsFixture.start();
});
afterEach(async () => {
  expect(childrenAlive()).toEqual([]);
  await fixture.fake.stop();
});

/** The last `zfs send` that was no dry run. */
function lastSend(): string | undefined {
  return fixture.fake.callsOf('send').findLast((text) => !text.startsWith('-nvP'));
}

function isResume(args: readonly string[]): boolean {
  return args[0] === 'send' && args.includes('-t');
}

async function sent(
  options: ZfsSendOptions,
  step: { from: FilesystemVersion | null; to: FilesystemVersion },
): Promise<string | undefined> {
  await collect((await fixture.offer(fixture.handler({ send: options }), step)).bytes);
  return lastSend();
}

describe('a real stream', () => {
  const version = { type: 'snapshot', name: 'base', guid: 9518794559622867999n, createTXG: 10n, creation: null };

  function replaying(name: 'full' | 'incremental' | 'raw-full' | 'full-props', details: string): void {
    fixture.fake.intercept = (args) => {
      if (args[0] === 'list') return { status: 0, stdout: details };
      return args[0] === 'send' && args[1] !== '-nvP' ? { stream: recordedStream(name) } : replayed(args);
    };
  }

  const base = 'src/fix@base\t9518794559622867999\t10\t1795207321\t0\toff\n';
  const next = 'src/fix@next\t8539521409244138673\t12\t1795207321\t0\toff\n';

  test('of a full send, byte for byte, with its estimate', async () => {
    replaying('full', base);
    const handler = fixture.handler({ roots: [{ dataset: 'src/fix' }] });
    const transfer = await handler.initialTransfer({ filesystem: ['src', 'fix'], version }, contextWith());
    expect(transfer).toMatchObject({ format: 'zfs', estimatedBytes: 23_152, resumed: false });
    expect((await collect(transfer.bytes)).equals(recordedStream('full'))).toBe(true);
  });

  test('of an incremental one, and with properties', async () => {
    replaying('incremental', base + next);
    const handler = fixture.handler({ roots: [{ dataset: 'src/fix' }] });
    const to = { ...version, name: 'next', guid: 8539521409244138673n };
    fixture.fake.intercept = ((before) => (args: readonly string[]) => {
      const isDryRun = args[0] === 'send' && args[1] === '-nvP';
      return isDryRun
        ? { status: 0, stdout: 'incremental\tsrc/fix@base\tsrc/fix@next\t7280\nsize\t7280\n' }
        : before(args);
    })(fixture.fake.intercept);
    const transfer = await handler.incrementalTransfer(
      { filesystem: ['src', 'fix'], from: version, to },
      contextWith(),
    );
    expect((await collect(transfer.bytes)).equals(recordedStream('incremental'))).toBe(true);
    replaying('full-props', base);
    const packed = await handler.initialTransfer({ filesystem: ['src', 'fix'], version }, contextWith());
    expect((await collect(packed.bytes)).equals(recordedStream('full-props'))).toBe(true);
  });

  test('of another snapshot than the one asked for is not given out', async () => {
    // As when it was destroyed and made anew after its name had been looked up.
    replaying('incremental', base);
    const handler = fixture.handler({ roots: [{ dataset: 'src/fix' }] });
    const { bytes } = await handler.initialTransfer({ filesystem: ['src', 'fix'], version }, contextWith());
    const given: unknown[] = [];
    const reading = (async () => {
      for await (const piece of bytes) given.push(piece);
    })();
    expect(await failure(reading)).toMatchObject({ code: 'VERSION_NOT_FOUND' });
    expect(given).toEqual([]);
  });
});

describe('versions', () => {
  test('are found by guid: renamed, they are still sent', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    for (const snapshot of fixture.fake.pool.get('tank/home').snapshots) snapshot.name = `new-${snapshot.name}`;
    expect(await sent({}, { from: one, to: two })).toBe('-i tank/home@new-one tank/home@new-two');
  });

  test('made anew under the same name are not taken for them', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    fixture.fake.pool.destroy('tank/home', '@two');
    fixture.snapshot('two');
    const failed = await failure(fixture.offer(fixture.handler(), { from: one, to: two }));
    expect(failed.code).toBe('VERSION_NOT_FOUND');
    expect(failed.message).toMatch(/made anew under the same name.*there are @one, @two/);
    expect(lastSend()).toBeUndefined();
  });

  test('a bookmark stands in for a snapshot that is gone, in either direction', async () => {
    const one = fixture.snapshot('one');
    const mark = fixture.bookmark(one, 'mark');
    const two = fixture.snapshot('two');
    expect(await sent({}, { from: mark, to: two })).toBe('-i tank/home#mark tank/home@two');
    fixture.fake.pool.destroy('tank/home', '@one');
    expect(await sent({}, { from: one, to: two })).toBe('-i tank/home#mark tank/home@two');
  });

  test('are looked up by name first, so that a long list is not read at every step', async () => {
    const one = fixture.snapshot('one');
    await sent({}, { from: null, to: one });
    expect(fixture.fake.callsOf('list').filter((text) => text.includes('-d 1'))).toEqual([]);
  });

  test('in the wrong order are refused with the words of zfs', async () => {
    const one = fixture.snapshot('one');
    const two = fixture.snapshot('two');
    const failed = await failure(fixture.offer(fixture.handler(), { from: two, to: one }));
    expect(failed).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('not an earlier snapshot') as string,
    });
  });
});

describe('options', () => {
  test('as they are given', async () => {
    const one = fixture.snapshot('one');
    const step = { from: null, to: one };
    expect(await sent({}, step)).toBe('tank/home@one');
    expect(await sent({ largeBlocks: true, embedded: true, compressed: true }, step)).toBe('-Lec tank/home@one');
    expect(await sent({ properties: true, raw: true }, step)).toBe('-wp tank/home@one');
  });

  test('an encrypted dataset goes raw, without its key, unless told otherwise', async () => {
    const dataset = fixture.fake.pool.get('tank/home');
    dataset.isEncrypted = true;
    dataset.isKeyLoaded = false;
    const step = { from: null, to: fixture.snapshot('one') };
    expect(await sent({}, step)).toBe('-w tank/home@one');
    expect(await sent({ encrypted: true }, step)).toBe('-w tank/home@one');
    const locked = await failure(sent({ encrypted: false }, step));
    expect(locked.message).toMatch(/key must be loaded.*zfs load-key/s);
    dataset.isKeyLoaded = true;
    expect(await sent({ encrypted: false }, step)).toBe('tank/home@one');
  });

  test('what is not encrypted is refused where that is required', async () => {
    const step = { from: null, to: fixture.snapshot('one') };
    const refused = await failure(fixture.offer(fixture.handler({ send: { encrypted: true } }), step));
    expect(refused).toMatchObject({
      code: 'SOURCE_FAILED',
      message: expect.stringContaining('not encrypted') as string,
    });
    expect(fixture.fake.callsOf('send')).toEqual([]);
  });

  test('properties of a dataset that is decrypted are refused, which ZFS would only do in mid transfer', async () => {
    fixture.fake.pool.get('tank/home').isEncrypted = true;
    const step = { from: null, to: fixture.snapshot('one') };
    const send = { encrypted: false, properties: true };
    expect((await failure(fixture.offer(fixture.handler({ send }), step))).message).toMatch(/properties only raw/);
  });

  test('that contradict each other are refused at once', () => {
    expect(() => fixture.handler({ send: { raw: true, encrypted: false } })).toThrow(/contradict/);
  });
});

describe('estimates', () => {
  test('before and with a transfer', async () => {
    const one = fixture.snapshot('one', Buffer.alloc(100_000));
    const two = fixture.snapshot('two', Buffer.alloc(50_000));
    const handler = fixture.handler();
    for (const step of [
      { from: null, to: one },
      { from: one, to: two },
    ]) {
      const estimate = await handler.transferEstimate!({ filesystem: fixture.filesystem, ...step }, contextWith());
      expect(estimate).toBeGreaterThan(50_000);
      expect((await fixture.offer(handler, step)).estimatedBytes).toBe(estimate);
    }
  });

  test('one that wrapped around is unknown', async () => {
    const one = fixture.snapshot('one');
    fixture.fake.intercept = (args) =>
      args[0] === 'send'
        ? { status: 0, stdout: 'full\ttank/home@one\t18446744073709545824\nsize\t18446744073709545824\n' }
        : undefined;
    expect((await fixture.offer(fixture.handler(), { from: null, to: one })).estimatedBytes).toBeNull();
  });

  test('hold nothing and mark nothing', async () => {
    const one = fixture.snapshot('one');
    await fixture.handler().transferEstimate!({ filesystem: fixture.filesystem, from: null, to: one }, contextWith());
    expect(fixture.fake.pool.holds()).toEqual([]);
    expect(fixture.bookmarks()).toEqual([]);
  });
});

describe('resume tokens', () => {
  function tokenFor(to: FilesystemVersion, more: Partial<Parameters<typeof tokenOf>[0]> = {}): string {
    return tokenOf({ toName: `tank/home@${to.name}`, toGuid: to.guid, bytes: 40_000n, ...more });
  }

  async function offered(to: FilesystemVersion, resumeToken: string, send: ZfsSendOptions = {}) {
    const transfer = await fixture.offer(fixture.handler({ send }), { from: null, to }, { resumeToken });
    return {
      resumed: transfer.resumed,
      estimate: transfer.estimatedBytes,
      bytes: (await collect(transfer.bytes)).length,
    };
  }

  test('send the rest', async () => {
    const one = fixture.snapshot('one', Buffer.alloc(100_000));
    const whole = await offered(one, tokenFor(one, { bytes: 0n }));
    const rest = await offered(one, tokenFor(one));
    expect(rest.resumed).toBe(true);
    expect(whole.bytes - rest.bytes).toBeGreaterThanOrEqual(40_000);
    expect(rest.estimate).toBeLessThan(whole.estimate!);
    expect(lastSend()).toMatch(/^-t 1-/);
  });

  test('survive that dataset and snapshot were renamed', async () => {
    const one = fixture.snapshot('one', Buffer.alloc(100_000));
    const token = tokenFor(one, { toName: 'tank/former@former' });
    expect((await offered(one, token)).resumed).toBe(true);
  });

  test.each([
    ['that is none', () => 'x'],
    ['of another snapshot', (one: FilesystemVersion) => tokenFor(one, { toGuid: one.guid ^ 1n })],
    ['of an incremental step', (one: FilesystemVersion) => tokenFor(one, { fromGuid: 7n })],
  ])('one %s is refused, and never given to zfs', async (_, make) => {
    const one = fixture.snapshot('one');
    const failed = await failure(offered(one, make(one)));
    expect(failed.code).toBe('RESUME_TOKEN_INVALID');
    expect(failed.message).toMatch(/zfs receive -A/);
    expect(fixture.fake.callsOf('send')).toEqual([]);
  });

  test('a stale one is left aside: the transfer begins at the beginning', async () => {
    const one = fixture.snapshot('one', Buffer.alloc(100_000));
    const token = tokenFor(one);
    fixture.fake.intercept = (args) =>
      isResume(args)
        ? { status: 255, stderr: "cannot resume send: 'tank/home@one' used in the initial send no longer exists\n" }
        : undefined;
    expect(await offered(one, token)).toMatchObject({ resumed: false });
    expect(lastSend()).toBe('tank/home@one');
  });

  test('one that would have another dataset sent is left aside', async () => {
    const one = fixture.snapshot('one', Buffer.alloc(100_000));
    // A copy in the same pool, which the token names, has the same guid.
    fixture.fake.pool.create('tank/copy').snapshots.push({ ...fixture.fake.pool.get('tank/home').snapshots[0]! });
    expect(await offered(one, tokenFor(one, { toName: 'tank/copy@one' }))).toMatchObject({ resumed: false });
    expect(lastSend()).toBe('tank/home@one');
  });

  test('one that would decrypt, or not, other than the options say is left aside', async () => {
    fixture.fake.pool.get('tank/home').isEncrypted = true;
    const one = fixture.snapshot('one', Buffer.alloc(100_000));
    const plain = tokenFor(one);
    const raw = tokenFor(one, { flags: ['rawok'] });
    expect(await offered(one, plain)).toMatchObject({ resumed: false });
    expect(lastSend()).toBe('-w tank/home@one');
    expect(await offered(one, raw)).toMatchObject({ resumed: true });
    expect(await offered(one, raw, { encrypted: false })).toMatchObject({ resumed: false });
    expect(await offered(one, plain, { encrypted: false })).toMatchObject({ resumed: true });
  });

  test('a failure that is not the token’s is one', async () => {
    const one = fixture.snapshot('one');
    fixture.fake.intercept = (args) =>
      isResume(args) ? { status: 1, stderr: 'internal error: out of memory\n' } : undefined;
    expect(await failure(offered(one, tokenFor(one)))).toMatchObject({ code: 'SOURCE_FAILED' });
  });
});

describe('streams that fail', () => {
  async function received(step: { from: FilesystemVersion | null; to: FilesystemVersion }) {
    const { bytes } = await fixture.offer(fixture.handler(), step);
    let count = 0;
    const reading = (async () => {
      for await (const piece of bytes) count += piece.byteLength;
    })();
    return { ...(await failure(reading)), bytes: count };
  }

  test.each([0, 100, 50_000])('after %i bytes: with the words of zfs, and never as whole', async (afterBytes) => {
    const one = fixture.snapshot('one', Buffer.alloc(100_000));
    const stderr = "warning: cannot send 'tank/home@one': Input/output error\n";
    fixture.fake.sendFaults.push({ afterBytes, outcome: { status: 1, stderr } });
    const end = await received({ from: null, to: one });
    expect(end).toMatchObject({ code: 'SOURCE_FAILED', bytes: afterBytes < 312 ? 0 : afterBytes });
    expect(end.message).toMatch(/sending tank\/home@one: .*exited with status 1: warning: .*Input\/output error/);
  });

  test('after the last byte', async () => {
    const one = fixture.snapshot('one', Buffer.alloc(1000));
    fixture.fake.sendFaults.push({ afterBytes: 1e6, outcome: { status: 1, stderr: 'internal error\n' } });
    expect(await received({ from: null, to: one })).toMatchObject({ code: 'SOURCE_FAILED' });
  });

  test('without a byte and without an error', async () => {
    const one = fixture.snapshot('one');
    fixture.fake.sendFaults.push({ afterBytes: 0, outcome: { status: 0 } });
    expect((await received({ from: null, to: one })).message).toMatch(/before its stream had begun/);
  });

  test('with a text instead of a stream', async () => {
    const one = fixture.snapshot('one');
    fixture.fake.intercept = (args) =>
      args[0] === 'send' && args[1] !== '-nvP' ? { stream: Buffer.alloc(400, 'hello ') } : undefined;
    expect((await received({ from: null, to: one })).message).toContain('hello');
  });

  test('for lack of rights, which a dry run does not notice', async () => {
    const one = fixture.snapshot('one');
    const stderr = "warning: cannot send 'tank/home@one': permission denied\n";
    fixture.fake.sendFaults.push({ afterBytes: 0, outcome: { status: 1, stderr } });
    expect((await received({ from: null, to: one })).message).toMatch(/zfs allow/);
  });

  test('early, where a dry run says so', async () => {
    const one = fixture.snapshot('one');
    fixture.fake.intercept = (args) =>
      args[0] === 'send' ? { status: 1, stderr: "warning: cannot send 'tank/home@one': No such process\n" } : undefined;
    expect(await failure(fixture.offer(fixture.handler(), { from: null, to: one }))).toMatchObject({
      code: 'VERSION_NOT_FOUND',
    });
  });
});

describe('streams that are left', () => {
  test('by a signal: zfs is stopped and reaped', async () => {
    const one = fixture.largeSnapshot('one');
    const abort = new AbortController();
    const { bytes } = await fixture.offer(fixture.handler(), { from: null, to: one }, { signal: abort.signal });
    const iterator = bytes[Symbol.asyncIterator]();
    await iterator.next();
    expect(childrenAlive()).not.toEqual([]);
    abort.abort();
    const reading = (async () => {
      while ((await iterator.next()).done !== true);
    })();
    expect(await failure(reading)).toMatchObject({ code: 'CANCELLED' });
    expect(childrenAlive()).toEqual([]);
  });

  test('by its reader, at once or in the middle', async () => {
    const one = fixture.largeSnapshot('one');
    for (const pieces of [0, 1, 5]) {
      const { bytes } = await fixture.offer(fixture.handler(), { from: null, to: one });
      const iterator = bytes[Symbol.asyncIterator]();
      for (let piece = 0; piece < pieces; piece++) await iterator.next();
      await iterator.return?.();
      expect(childrenAlive()).toEqual([]);
    }
  });

  test('never begun, nothing runs', async () => {
    const one = fixture.snapshot('one');
    await fixture.offer(fixture.handler(), { from: null, to: one });
    expect(childrenAlive()).toEqual([]);
    expect(lastSend()).toBeUndefined();
  });

  test('standing still: zfs is stopped by a watchdog', async () => {
    const one = fixture.largeSnapshot('one');
    fixture.fake.sendFaults.push({ afterBytes: 200_000, outcome: 'stall' });
    const handler = fixture.handler({}, { stallMsMax: 300 });
    const { bytes } = await fixture.offer(handler, { from: null, to: one });
    expect(await failure(collect(bytes))).toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringContaining('wrote nothing') as string,
    });
    expect(childrenAlive()).toEqual([]);
  });

  test('two at once, of one snapshot', async () => {
    const one = fixture.snapshot('one', Buffer.alloc(3_000_000, 'x'));
    const handler = fixture.handler();
    const both = await Promise.all(
      [1, 2].map(async () => collect((await fixture.offer(handler, { from: null, to: one })).bytes)),
    );
    expect(both[0]!.equals(both[1]!)).toBe(true);
  });
});
