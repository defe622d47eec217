import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { attempts, whileMoving } from '../../src/jobs/attempts.ts';
import { Bandwidth } from '../../src/jobs/bandwidth.ts';
import { DatasetTurns } from '../../src/jobs/dataset-turns.ts';
import { decidingPattern } from '../../src/jobs/datasets-of-job.ts';
import { delegatingSink } from '../../src/jobs/delegating-sink.ts';
import { nextCronMs } from '../../src/jobs/next-cron.ts';
import { ReceiveTimes } from '../../src/jobs/receive-times.ts';
import { tappedBytes } from '../../src/jobs/tapped-bytes.ts';
import type { ReplicationSink, TransferBytes } from '../../src/sink.ts';
import { failure } from '../support/directory-fixture.ts';
import { FakeClock, settled } from '../support/fake-clock.ts';

const never = new AbortController().signal;

describe('Bandwidth', () => {
  const limit = { bytesPerSecondMax: 1000, burstBytesMax: 500 };

  test('lets a burst through at once, and then keeps to the rate', async () => {
    const clock = new FakeClock();
    const bandwidth = new Bandwidth(limit, clock);
    await bandwidth.take(500, never);
    expect(clock.waiting).toBe(0);
    const waiting = bandwidth.take(2000, never);
    expect(clock.nextMs).toBe(2000);
    await clock.pass(2000);
    await waiting;
  });

  test('is shared: debts add up', async () => {
    const clock = new FakeClock();
    const bandwidth = new Bandwidth(limit, clock);
    await bandwidth.take(500, never);
    const ended: number[] = [];
    const began = clock.monotonicMs();
    const both = [1000, 1000].map((bytes) =>
      bandwidth.take(bytes, never).then(() => ended.push(clock.monotonicMs() - began)),
    );
    await clock.pass(5000);
    await Promise.all(both);
    expect(ended).toEqual([1000, 2000]);
  });

  test('saves no more than a burst', async () => {
    const clock = new FakeClock();
    const bandwidth = new Bandwidth(limit, clock);
    await clock.pass(1_000_000);
    await bandwidth.take(500, never);
    const waiting = bandwidth.take(100, never);
    expect(clock.nextMs).toBe(100);
    await clock.pass(100);
    await waiting;
  });

  test('is cancelled', async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    const waiting = failure(new Bandwidth(limit, clock).take(5000, controller.signal));
    controller.abort();
    expect((await waiting).code).toBe('CANCELLED');
    expect(clock.waiting).toBe(0);
  });
});

describe('delegatingSink', () => {
  const version = { type: 'snapshot', name: 'a', guid: 1n, createTXG: 1n, creation: '' };
  const nothing = () => Promise.reject(new Error('not asked here'));
  const plain: ReplicationSink = {
    filesystemVersions: nothing,
    resumeState: nothing,
    discardPartial: nothing,
    createParents: nothing,
    receive: nothing,
  };

  test('has what the sink has, and nothing else', async () => {
    expect(Object.keys(delegatingSink(plain, {})).sort()).toEqual(Object.keys(plain).sort());
    const full = { ...plain, settle: () => Promise.resolve(['settled']), missing: () => Promise.resolve(['missing']) };
    const delegating = delegatingSink(full, {});
    expect(await delegating.settle?.(['tank'], version)).toEqual(['settled']);
    expect(await delegating.missing?.(['tank'], version)).toEqual(['missing']);
  });
});

describe('attempts', () => {
  const retry = { attemptsMax: 4, waitMsMin: 1000, waitMsMax: 3000 };

  test('wait longer and longer, and begin anew when something has arrived', async () => {
    const clock = new FakeClock();
    const waits: number[] = [];
    const arrivals = [false, false, true, false, false, false, false];
    let made = 0;
    const all = attempts(() => Promise.resolve({ isLeft: true, hasArrived: arrivals[made++] ?? false }), {
      retry,
      clock,
      signal: never,
      onRetry: (waitMs) => waits.push(waitMs),
    });
    await clock.pass(60_000);
    await all;
    expect(waits).toEqual([1000, 2000, 1000, 2000, 3000]);
    expect(made).toBe(6);
  });

  test('end when nothing is left', async () => {
    let made = 0;
    const options = { retry, clock: new FakeClock(), signal: never, onRetry: () => undefined };
    await attempts(() => Promise.resolve({ isLeft: ++made > 5, hasArrived: true }), options);
    expect(made).toBe(1);
  });
});

describe('whileMoving', () => {
  const options = (clock: FakeClock) => ({ clock, signal: never, stallMsMax: 10_000, what: 'the job x' });

  test('stops what stands still', async () => {
    const clock = new FakeClock();
    const standing = whileMoving(options(clock), (signal) => {
      return new Promise<SnapferryError>((resolve) => {
        signal.addEventListener('abort', () => resolve(signal.reason as SnapferryError));
      });
    });
    await clock.pass(10_000);
    expect(await standing).toMatchObject({ code: 'TIMEOUT', message: expect.stringContaining('10s') as string });
    expect(clock.waiting).toBe(0);
  });

  test('leaves alone what moves now and then', async () => {
    const clock = new FakeClock();
    let isStopped = false;
    await whileMoving(options(clock), async (signal, onMove) => {
      for (let step = 0; step < 20; step++) {
        await clock.pass(9000);
        onMove();
      }
      isStopped = signal.aborted;
    });
    expect(isStopped).toBe(false);
    expect(clock.waiting).toBe(0);
  });
});

describe('DatasetTurns', () => {
  const dataset = ['tank', 'home'];

  test('many may read, one may change', () => {
    const turns = new DatasetTurns();
    const [one, two] = [turns.tryRead('zfs', dataset)!, turns.tryRead('zfs', dataset)!];
    expect(turns.tryChange('zfs', dataset)).toBeNull();
    one();
    one();
    expect(turns.tryChange('zfs', dataset)).toBeNull();
    two();
    const change = turns.tryChange('zfs', dataset)!;
    expect([turns.tryRead('zfs', dataset), turns.tryChange('zfs', dataset)]).toEqual([null, null]);
    expect(turns.tryChange('btrfs', dataset)).not.toBeNull();
    expect(turns.tryChange('zfs', ['tank'])).not.toBeNull();
    change();
    expect(turns.tryRead('zfs', dataset)).not.toBeNull();
  });
});

async function drain(bytes: TransferBytes): Promise<void> {
  const reader = bytes[Symbol.asyncIterator]();
  while ((await reader.next()).done !== true);
}

describe('tappedBytes', () => {
  async function* pieces(closed: { isClosed: boolean }) {
    try {
      yield await Promise.resolve(new Uint8Array(3));
      yield new Uint8Array(4);
    } finally {
      closed.isClosed = true;
    }
  }

  test('tells of each piece and of the end, once', async () => {
    const seen: (number | string)[] = [];
    const bytes = tappedBytes(pieces({ isClosed: false }), {
      onPiece: (count) => Promise.resolve(void seen.push(count)),
      onOver: () => seen.push('over'),
    });
    await drain(bytes);
    expect(seen).toEqual([3, 4, 'over']);
  });

  test('is over when its reader leaves, also before it began', async () => {
    let over = 0;
    const closed = { isClosed: false };
    const reader = tappedBytes(pieces(closed), { onOver: () => over++ })[Symbol.asyncIterator]();
    await reader.next();
    await reader.return?.();
    expect([over, closed.isClosed]).toEqual([1, true]);
    await tappedBytes(pieces(closed), { onOver: () => over++ })
      [Symbol.asyncIterator]()
      .return?.();
    expect(over).toBe(2);
  });

  test('closes the bytes when the tap refuses', async () => {
    const closed = { isClosed: false };
    const refuse = () => Promise.reject(new SnapferryError('CANCELLED', 'no'));
    expect((await failure(drain(tappedBytes(pieces(closed), { onPiece: refuse })))).code).toBe('CANCELLED');
    expect(closed.isClosed).toBe(true);
  });
});

describe('nextCronMs', () => {
  test('is strictly after', () => {
    const at = nextCronMs('0 0 * * * *', Date.parse('2026-03-07T05:06:09Z'))!;
    expect(new Date(at).getMinutes()).toBe(0);
    expect(nextCronMs('0 0 * * * *', at)).toBe(at + 3_600_000);
  });

  test('is never for what never comes', () => {
    expect(nextCronMs('0 0 30 2 *', Date.now())).toBeNull();
  });
});

describe('decidingPattern', () => {
  const rules = { '<': false, 'tank<': true, 'tank/tmp<': false, 'tank/tmp/keep': true };
  test.each([
    ['tank', 'tank<'],
    ['tank/home/a', 'tank<'],
    ['tank/tmp', 'tank/tmp<'],
    ['tank/tmp/keep', 'tank/tmp/keep'],
    ['tank/tmp/keep/not', 'tank/tmp<'],
    ['other', '<'],
  ])('%s: %s', (dataset, pattern) => {
    expect(decidingPattern({ rules }, dataset.split('/'))).toBe(pattern);
  });

  test('none', () => expect(decidingPattern({ rules: { tank: true } }, ['other'])).toBeNull());
});

describe('ReceiveTimes', () => {
  let folder: string;
  beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'snapferry-times-'))));
  afterEach(() => rmSync(folder, { recursive: true }));

  const dataset = ['backup', 'home'];
  const open = (clock = new FakeClock()) =>
    new ReceiveTimes(join(folder, 'received/job.ndjson'), { clock, logger: pino({ level: 'silent' }) });

  test('are there for whoever comes later', async () => {
    const clock = new FakeClock();
    const times = open(clock);
    await times.load();
    await times.note(dataset, 7n);
    clock.jump(1000);
    await times.note(dataset, 2n ** 64n - 1n);
    const later = open();
    await later.load();
    expect(later.of(dataset, 7n)).toBe('2026-03-07T05:06:09.000Z');
    expect(later.of(dataset, 2n ** 64n - 1n)).toBe('2026-03-07T05:06:10.000Z');
    expect(later.of(dataset, 8n)).toBeNull();
    expect(later.of(['backup'], 7n)).toBeNull();
  });

  test('survive a line that was cut off', async () => {
    const times = open();
    await times.load();
    await times.note(dataset, 1n);
    appendFileSync(join(folder, 'received/job.ndjson'), '{"dataset":"backup/ho');
    const later = open();
    await later.load();
    await later.note(dataset, 2n);
    const last = open();
    await last.load();
    expect([last.of(dataset, 1n), last.of(dataset, 2n)]).toEqual(Array(2).fill('2026-03-07T05:06:09.000Z'));
  });

  test('are forgotten with their versions, and the file stays small', async () => {
    const path = join(folder, 'received/job.ndjson');
    const times = open();
    await times.note(dataset, 1n);
    const line = JSON.stringify({ dataset: 'backup/home', guid: '5', at: '2026-01-01T00:00:00.000Z' });
    writeFileSync(path, `${line}\n`.repeat(1200));
    await times.load();
    await times.note(dataset, 6n);
    await times.keepOnly(dataset, new Set([6n]));
    expect(times.of(dataset, 5n)).toBeNull();
    expect(readFileSync(path, 'utf8').trim().split('\n')).toHaveLength(1);
    const later = open();
    await later.load();
    expect(later.of(dataset, 6n)).not.toBeNull();
  });

  test('that cannot be written are an error', async () => {
    writeFileSync(join(folder, 'received'), 'in the way');
    expect((await failure(open().note(dataset, 1n))).code).toBe('INTERNAL');
    await settled();
  });
});
