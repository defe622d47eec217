import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import { faultPair, flip, type Fault } from '../support/fault-pair.ts';
import { bytesOf, seededBytes } from '../support/recorded.ts';
import { byteByByte, countMessages, randomSplit, seededRandom, testSeed } from '../support/scripted-peer.ts';
import {
  filesystem,
  largeVersion,
  runSession,
  sessionHandler,
  type Result,
  type SessionLog,
} from '../support/session.ts';

const options = { heartbeatMs: 3_600_000 } as const;
/**
 * A whole session has some 8,000 bytes, and cutting at each takes minutes: `SNAPFERRY_EVERY_OFFSET=1` does, otherwise it is
 * every 19th, beginning somewhere else in each run. A session of one transfer is always cut everywhere.
 */
const stride = process.env['SNAPFERRY_EVERY_OFFSET'] === '1' ? 1 : 19;

/** Calls of both roles, PullMe and the call after it. */
const callCount = 8;

async function healthy(version: 1 | 2) {
  const pair = faultPair();
  const log = await runSession(pair, { ...options, maximumVersion: version });
  expect(log.results.filter(({ ok }) => ok)).toHaveLength(callCount);
  expect(log.listened).toBeNull();
  return { log, sentBytes: pair.sentBytes };
}

/** What succeeded is what succeeds without a fault, and nothing comes after a failure. */
function expectBeginningOf(results: readonly Result[], whole: readonly Result[], context: string): void {
  const good = results.filter(({ ok }) => ok);
  expect(good, context).toEqual(whole.slice(0, good.length));
  expect(results.slice(0, good.length), context).toEqual(good);
}

describe.each([1, 2] as const)('a session in version %i between our own ends (scenarios 1, 3)', (version) => {
  const name = `cut %s: never a success of what was cut (SNAPFERRY_SEED=${testSeed})`;
  test.each(['toFar', 'toNear'] as const)(name, async (direction) => {
    const { log, sentBytes } = await healthy(version);
    for (let cutBytes = testSeed % stride; cutBytes < sentBytes[direction]; cutBytes += stride) {
      const fault: Fault = { cutBytes };
      const pair = direction === 'toFar' ? faultPair(fault) : faultPair({}, fault);
      const cut: SessionLog = await runSession(pair, { ...options, maximumVersion: version });
      const context = `cut after ${cutBytes} of ${sentBytes[direction]} bytes`;
      expectBeginningOf(cut.results, log.results, context);
      expect(cut.handled, context).toEqual(log.handled.slice(0, cut.handled.length));
      // All calls are answered before the goodbye, whose loss costs nothing.
      const isGoodbye = cut.results.length === callCount && cut.results.every(({ ok }) => ok);
      const failed = cut.results.filter(({ ok }) => !ok);
      expect(failed.length, context).toBe(isGoodbye ? 0 : 1);
    }
  });

  test(`means the same in any pieces (SNAPFERRY_SEED=${testSeed})`, async () => {
    const { log } = await healthy(version);
    const random = seededRandom(testSeed);
    for (const split of [byteByByte, randomSplit(random, 5), randomSplit(random, 50), randomSplit(random, 500)]) {
      expect(await runSession(faultPair({ split }, { split }), { ...options, maximumVersion: version })).toEqual(log);
    }
  });
});

describe.each([1, 2] as const)('a transfer in version %i (scenario 1)', (maximumVersion) => {
  /** Answers to hello and request, the stream, and the trailer in version 2. */
  const messageCount = maximumVersion === 1 ? 3 : 4;

  async function transfer(cutBytes: number) {
    const { near, far, passedToNear } = faultPair({}, { cutBytes });
    const handler = sessionHandler([]);
    const listening = ByteStreamRPC.listen(far, { ...options, maximumVersion, clientIdentity: 'tester', handler });
    const served = listening.catch(() => undefined);
    const attempt = async () => {
      const client = await ByteStreamRPC.connect(near, { ...options, maximumVersion });
      const bytes = await bytesOf(await client.initialTransfer({ filesystem, version: largeVersion }));
      client.forceClose();
      return bytes;
    };
    const outcome: unknown = await attempt().catch((error: unknown) => error);
    far.abort(new Error('gone'));
    await served;
    return { outcome, isWhole: countMessages(passedToNear()) === messageCount };
  }

  test('is received if and only if all of it has come, wherever it is cut', async () => {
    let wholes = 0;
    // The digits of the random ids make the length of an answer vary: some way on behind the first that was whole.
    for (let cutBytes = 0; wholes < 20; cutBytes++) {
      const { outcome, isWhole } = await transfer(cutBytes);
      const codes: unknown = expect.stringMatching(/^(STREAM_TRUNCATED|CONNECTION_LOST)$/);
      if (isWhole) expect(outcome).toEqual(seededBytes('initialTransfer', 300));
      else expect(outcome, `cut after ${cutBytes} bytes`).toMatchObject({ code: codes });
      if (isWhole) wholes++;
    }
  });
});

describe('a transfer in version 2 with one byte changed on the way (scenario 2)', () => {
  const expected = seededBytes('initialTransfer', 300);

  async function transfer(toNear: Fault): Promise<{ outcome: unknown; sentBytes: number }> {
    const pair = faultPair({}, toNear);
    const handler = sessionHandler([]);
    const listening = ByteStreamRPC.listen(pair.far, { ...options, clientIdentity: 'tester', handler }).catch(
      () => undefined,
    );
    const attempt = (async () => {
      const client = await ByteStreamRPC.connect(pair.near, options);
      const bytes = await bytesOf(await client.initialTransfer({ filesystem, version: largeVersion }));
      await client.close();
      return bytes;
    })();
    // A changed length may make the client wait for bytes nobody will send: the sender goes.
    await settledOrQuiet(attempt, pair.sentBytes, () => pair.far.abort(new Error('gone')));
    const outcome: unknown = await attempt.catch((error: unknown) => error);
    pair.far.abort(new Error('gone'));
    await listening;
    return { outcome, sentBytes: pair.sentBytes.toNear };
  }

  test.each(['01', '80'])('mask 0x%s: an error or the same bytes', async (digits) => {
    const mask = Number.parseInt(digits, 16);
    const { outcome, sentBytes } = await transfer({});
    expect(outcome).toEqual(expected);
    for (let offset = 0; offset < sentBytes; offset++) {
      const { outcome: changed } = await transfer(flip(offset, mask));
      const isError = changed instanceof SnapferryError;
      if (!isError) expect(changed, `byte ${offset}`).toEqual(expected);
    }
  });
});

/** Waits for `work`; when no byte moves any more and it still waits, ends the connection. */
async function settledOrQuiet(work: Promise<unknown>, sentBytes: { toNear: number }, end: () => void): Promise<void> {
  const state = { isSettled: false };
  const settle = (): void => void (state.isSettled = true);
  work.then(settle, settle);
  for (let quiet = 0, last = -1; !state.isSettled && quiet < 20; quiet++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (sentBytes.toNear !== last) quiet = 0;
    last = sentBytes.toNear;
  }
  if (!state.isSettled) end();
}
