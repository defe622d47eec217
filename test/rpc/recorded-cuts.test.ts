import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { Pull, RPCHandler } from '../../src/rpc/interfaces.ts';
import {
  askRecorded,
  recordedHandler,
  recordedStep,
  recordedSteps,
  wireOf,
  type RecordedStep,
} from '../support/recorded.ts';
import {
  byteByByte,
  randomSplit,
  scripted,
  seededRandom,
  testSeed,
  whole,
  type Split,
} from '../support/scripted-peer.ts';

const hello = recordedStep('01-version');

/** Makes the recorded call against a server that sends `response` in the given pieces and then ends. */
async function ask(step: RecordedStep, response: Uint8Array, split: Split): Promise<unknown> {
  const { stream, peer } = scripted();
  peer.send(hello.server[0]!.wire);
  const client = await ByteStreamRPC.connect(stream, { maximumVersion: 1 });
  try {
    const asked = askRecorded(client, step.client[0]!, step.client[1]!);
    peer.send(response, split);
    peer.end();
    return await asked;
  } finally {
    client.forceClose();
  }
}

/** All offsets, but of the long payloads only those around their chunk boundaries and every 499th. */
function offsetsOf(step: RecordedStep): number[] {
  const bytes = wireOf(step.server).byteLength;
  const isNear = (offset: number, place: number): boolean => Math.abs(offset - place) <= 12;
  const places = [150, 32_764 + 150, 32_764 + 107, bytes];
  return Array.from({ length: bytes }, (_, offset) => offset).filter(
    (offset) => bytes < 2000 || offset < 300 || offset % 499 === 0 || places.some((place) => isNear(offset, place)),
  );
}

const hasCall = ({ name, client, server, needsHello }: RecordedStep): boolean =>
  needsHello &&
  client.length === 2 &&
  server.length > 0 &&
  client[1]!.payload.toString().startsWith('{"') &&
  !/^(15|3[0-5]|4[3-8]|49|5\d|17)-|year-10000/.test(name);

const answered = recordedSteps.filter(hasCall).map((step) => [step.name, step] as const);

describe('what the recorded server says (scenarios 1, 3)', () => {
  test.each(answered)('%s: cut anywhere, it is an error', async (_, step) => {
    const response = wireOf(step.server);
    for (const offset of offsetsOf(step)) {
      const outcome = await ask(step, response.subarray(0, offset), whole).then(
        () => 'taken as whole',
        (error: unknown) => error,
      );
      expect(outcome, `cut at ${offset}`).toBeInstanceOf(SnapferryError);
      expect((outcome as SnapferryError).code, `cut at ${offset}`).toBe(
        offset === 0 ? 'CONNECTION_LOST' : 'STREAM_TRUNCATED',
      );
    }
  });

  test.each(answered)(`%s: means the same in any pieces (SNAPFERRY_SEED=${testSeed})`, async (_, step) => {
    const response = wireOf(step.server);
    const outcomeOf = (split: Split): Promise<unknown> =>
      ask(step, response, split).catch((error: unknown) => (error as SnapferryError).message);
    const expected = await outcomeOf(whole);
    const random = seededRandom(testSeed);
    for (const split of [byteByByte, randomSplit(random, 7), randomSplit(random, 300), randomSplit(random, 9000)]) {
      expect(await outcomeOf(split)).toEqual(expected);
    }
  });
});

/** A handler that notes what it is asked. */
function noting(step: RecordedStep): { handler: RPCHandler; asked: string[] } {
  const asked: string[] = [];
  const handler = new Proxy(recordedHandler(step), {
    get(target, name, receiver) {
      const method = Reflect.get(target, name, receiver) as ((...args: unknown[]) => unknown) | undefined;
      if (typeof method !== 'function') return method;
      return (...args: unknown[]) => {
        asked.push(String(name));
        return method.apply(target, args);
      };
    },
  });
  return { handler, asked };
}

/** Serves a client that sends hello and `request` and then ends. */
async function serve(step: RecordedStep, request: Uint8Array, split: Split) {
  const { stream, peer } = scripted();
  const { handler, asked } = noting(step);
  const served = ByteStreamRPC.listen(stream, { clientIdentity: 'go', handler, maximumVersion: 1 }).catch(
    (error: unknown) => (error as SnapferryError).code,
  );
  peer.send(wireOf(hello.client));
  await peer.message();
  peer.send(request, split);
  const isWhole = request.byteLength === wireOf(step.client).byteLength;
  const answers: string[] = [];
  if (isWhole) {
    for (let count = 0; count < step.server.length; count++)
      answers.push((await peer.message())!.payload.toString('hex'));
  }
  peer.end();
  return { outcome: await served, asked, answers, rest: await peer.rest() };
}

const requests = recordedSteps
  .filter(
    ({ name, client, needsHello }) => needsHello && client.length === 2 && !/^(17|3[01]|4[5689]|50|15)-/.test(name),
  )
  .filter(({ server }) => server.length > 0)
  .map((step) => [step.name, step] as const);

describe('what the recorded client asks (scenarios 1, 3)', () => {
  test.each(requests)('%s: cut anywhere, it is not executed', async (_, step) => {
    const request = wireOf(step.client);
    for (let offset = 0; offset < request.byteLength; offset++) {
      const { outcome, asked, rest } = await serve(step, request.subarray(0, offset), whole);
      expect(asked, `cut at ${offset}`).toEqual([]);
      expect(rest, `cut at ${offset}`).toEqual(Buffer.alloc(0));
      expect(outcome, `cut at ${offset}`).toBe(offset === 0 ? undefined : 'STREAM_TRUNCATED');
    }
  });

  test.each(requests)(`%s: means the same in any pieces (SNAPFERRY_SEED=${testSeed})`, async (_, step) => {
    const request = wireOf(step.client);
    const expected = await serve(step, request, whole);
    const random = seededRandom(testSeed);
    for (const split of [byteByByte, randomSplit(random, 7), randomSplit(random, 100)]) {
      expect(await serve(step, request, split)).toEqual(expected);
    }
  });
});

/** Some 7,000 offsets of a whole push: every 7th, beginning elsewhere in each run, all with `SNAPFERRY_EVERY_OFFSET=1`. */
const stride = process.env['SNAPFERRY_EVERY_OFFSET'] === '1' ? 1 : 7;

describe(`the recorded push (scenario 1, SNAPFERRY_SEED=${testSeed})`, () => {
  const step = recordedStep('15-pullme');
  const policy = { initialReplicationPolicy: 'most_recent' } as const;

  test('fails at our client wherever the puller is cut', async () => {
    const said = wireOf(step.server);
    const push = async (offset: number): Promise<unknown> => {
      const { stream, peer } = scripted();
      peer.send(hello.server[0]!.wire);
      const client = await ByteStreamRPC.connect(stream, { maximumVersion: 1 });
      const pushed = client.pullMe(policy, recordedHandler(step)).catch((error: unknown) => error);
      peer.send(said.subarray(0, offset));
      peer.end();
      return pushed.finally(() => client.forceClose());
    };
    expect(await push(said.byteLength)).toBeNull();
    for (let offset = testSeed % stride; offset < said.byteLength; offset += stride) {
      expect(await push(offset), `cut at ${offset}`).toMatchObject({ connectionDead: true });
    }
  });

  test('fails at our server wherever the pusher is cut', async () => {
    const said = wireOf(step.client);
    const isRequest = ({ kind }: RecordedStep['server'][number]): boolean => kind.startsWith('request');
    const requests = step.server.filter(isRequest).slice(0, -2);
    const pull: Pull = async (client) => {
      for (let at = 0; at < requests.length; at += 2) await askRecorded(client, requests[at]!, requests[at + 1]!);
      return { filesystems: [] };
    };
    const serveCut = async (offset: number): Promise<unknown> => {
      const { stream, peer } = scripted();
      const handler = { ...recordedHandler(step), pullMe: () => Promise.resolve(pull) };
      const served = ByteStreamRPC.listen(stream, { clientIdentity: 'go', handler, maximumVersion: 1 });
      const outcome = served.then(
        () => null,
        (error: unknown) => error,
      );
      peer.send(wireOf(hello.client));
      peer.send(said.subarray(0, offset));
      peer.end();
      return outcome;
    };
    expect(await serveCut(said.byteLength)).toBeNull();
    for (let offset = 1 + (testSeed % stride); offset < said.byteLength; offset += stride) {
      expect(await serveCut(offset), `cut at ${offset}`).toMatchObject({ connectionDead: true });
    }
  });
});

describe('the very first bytes (scenarios 1, 8b)', () => {
  test('a hello in single bytes is no banner, though its first byte is printable', async () => {
    const { stream, peer } = scripted();
    const connecting = ByteStreamRPC.connect(stream);
    peer.send(hello.server[0]!.wire, byteByByte);
    expect((await connecting).protocolVersion).toBe(1);
  });

  test('the hello, cut anywhere, is an error on both sides', async () => {
    const answer = wireOf(hello.server);
    for (let offset = 0; offset < answer.byteLength; offset++) {
      const { stream, peer } = scripted();
      peer.send(answer.subarray(0, offset));
      peer.end();
      const code = offset === 0 ? 'CONNECTION_LOST' : 'STREAM_TRUNCATED';
      await expect(ByteStreamRPC.connect(stream), `cut at ${offset}`).rejects.toMatchObject({ code });
    }
    const asked = wireOf(hello.client);
    for (let offset = 1; offset < asked.byteLength; offset++) {
      const { stream, peer } = scripted();
      const served = ByteStreamRPC.listen(stream, { clientIdentity: '', handler: recordedHandler(hello) });
      peer.send(asked.subarray(0, offset));
      peer.end();
      await expect(served, `cut at ${offset}`).rejects.toMatchObject({ code: 'STREAM_TRUNCATED' });
      expect(await peer.rest()).toEqual(Buffer.alloc(0));
    }
  });

  test.each([
    ['bash: snapferry: command not found\n', 'the whole of it'],
    ['Welcome!', 'without a newline'],
    ['no', 'shorter than a length'],
  ])('%j is quoted in the error (%s)', async (text) => {
    for (const split of [whole, byteByByte]) {
      const { stream, peer } = scripted();
      peer.send(Buffer.from(text), split);
      peer.end();
      const connecting = ByteStreamRPC.connect(stream);
      await expect(connecting).rejects.toMatchObject({ code: 'CONNECT_FAILED', retryable: false });
      await expect(connecting).rejects.toThrow(JSON.stringify(text.trim()));
    }
  });

  test('a peer that prints without end is quoted in part', async () => {
    const { stream, peer } = scripted();
    peer.send(Buffer.from('y\n'.repeat(5000)));
    const error = (await ByteStreamRPC.connect(stream).catch((cause: unknown) => cause)) as SnapferryError;
    expect(error.code).toBe('CONNECT_FAILED');
    expect(error.message.length).toBeLessThan(5000);
  });
});
