import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCHandler, RPCRequester } from '../../src/rpc/interfaces.ts';
import {
  askRecorded,
  oracle,
  recordedHandler,
  recordedStep,
  recordedSteps,
  wireOf,
  type RecordedMessage,
  type RecordedStep,
} from '../support/recorded.ts';
import { messageOf, scripted, type ScriptedPeer } from '../support/scripted-peer.ts';

/** What we answer where it differs from the recording, and what becomes of the connection. */
interface Difference {
  readonly why: string;
  /** Null: nothing is sent. */
  readonly errorId: number | null;
  readonly says?: RegExp;
  readonly requestId?: number[];
  /** `in service`: the next request is answered; `silent`: closed without a word; a code: the listener rejects with it. */
  readonly after: 'in service' | 'closes' | 'silent' | 'STREAM_TRUNCATED';
  /** Sent before the next request, where the recording stops in mid-request. */
  readonly rest?: Buffer;
}

const ownId = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255];
const staysUsable = 'answered with the reason, and the connection stays in service';

const differences: Record<string, Difference> = {
  '30-error-version-mismatch': { why: 'says why', errorId: 4, says: /version 2 is not spoken/, after: 'closes' },
  '31-error-unknown-type': { why: staysUsable, errorId: 2, says: /0x55/, after: 'in service' },
  '32-error-unknown-type-no-body': {
    why: `${staysUsable}, once the body has come`,
    errorId: 2,
    says: /0x55/,
    after: 'in service',
    rest: messageOf('{}'),
  },
  '33-error-bad-header': { why: 'other words', errorId: 1, says: /Type: expected an integer/, after: 'closes' },
  '34-error-bad-body-without-message': { why: staysUsable, errorId: 3, says: /Filesystem/, after: 'in service' },
  '35-error-bad-body-with-message': { why: staysUsable, errorId: 3, says: /Filesystem/, after: 'in service' },
  '40-eof-between-requests': { why: 'nobody asked', errorId: null, after: 'silent' },
  '41-eof-inside-chunk-header': { why: 'nobody asked', errorId: null, after: 'STREAM_TRUNCATED' },
  '42-extra-terminator': { why: 'other words', errorId: 1, says: /request header/, after: 'closes' },
  '44-request-id-not-in-errors': {
    why: 'the id is echoed, and missing versions read as empty ones',
    errorId: 5,
    says: /no such filesystem/,
    requestId: ownId,
    after: 'in service',
  },
  '48-handler-panic': {
    why: `${staysUsable}; the text of a foreign error is not for the peer`,
    errorId: 5,
    says: /^InitialTransfer failed; the log of the side that was asked says why$/,
    after: 'in service',
  },
  '49-pullme-fails': { why: 'refused before it is confirmed', errorId: 3, says: /"fail"/, after: 'in service' },
  '50-pullme-identity-local': {
    why: 'refused before it is confirmed',
    errorId: 5,
    says: /identity/,
    after: 'in service',
  },
  '51-pullme-finished-out-of-place': { why: 'refused', errorId: 5, says: /without a PullMe/, after: 'in service' },
  '44b77a8/07-path-null': { why: staysUsable, errorId: 5, says: /no such filesystem/, after: 'in service' },
};

/** Healthy exchanges in which we say the same in other JSON. */
const otherBodies: Record<string, string> = {
  '20-filesystems-null': '[]',
  '22-filesystems-odd-paths': '[[],[]]',
  '23-versions-null': '[]',
  '44b77a8/06-versions-year-10000':
    '[{"Type":"snapshot","Name":"far","Guid":1,"CreateTXG":1,"Creation":"10000-01-01T00:00:00Z"}]',
};

const brokenStreams = ['45-source-fails', '46-source-fails-with-data'];
const isSpecial = (name: string): boolean => name in differences || brokenStreams.includes(name);

interface Session {
  readonly peer: ScriptedPeer;
  readonly served: Promise<SnapferryError | null>;
}

async function open(
  step: RecordedStep,
  maximumVersion: 1 | 2,
  { clientIdentity = 'go', handler = recordedHandler(step) }: { clientIdentity?: string; handler?: RPCHandler } = {},
): Promise<Session> {
  const { stream, peer } = scripted();
  const served = ByteStreamRPC.listen(stream, { clientIdentity, handler, maximumVersion }).then(
    () => null,
    (error: unknown) => error as SnapferryError,
  );
  if (step.needsHello) {
    const hello = recordedStep('01-version');
    peer.send(wireOf(hello.client));
    expect((await peer.message())?.wire).toEqual(hello.server[0]!.wire);
  }
  return { peer, served };
}

async function expectInService(peer: ScriptedPeer): Promise<void> {
  const next = recordedStep('02-filesystems');
  peer.send(wireOf(next.client));
  for (const message of next.server)
    expect((await peer.message())?.payload.toString()).toBe(message.payload.toString());
}

async function expectQuietEnd({ peer, served }: Session): Promise<void> {
  peer.end();
  expect(await served).toBeNull();
  expect(await peer.rest()).toEqual(Buffer.alloc(0));
}

const zeroId = '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]';

/** Our ids are random where the recorded ones are zero. */
function withoutId(payload: Buffer): string {
  return payload.toString().replace(/"Id":\[[\d,]*\]/, `"Id":${zeroId}`);
}

function expectAsRecorded(got: Buffer | undefined, recorded: RecordedMessage): void {
  if (recorded.kind === 'stream') expect(got).toEqual(recorded.payload);
  else if (recorded.kind === 'request header') expect(withoutId(got!)).toBe(recorded.payload.toString());
  else expect(got?.toString()).toBe(recorded.payload.toString());
}

/** Plays the client's side of a recording in its order, and compares what the server says in between. */
async function play({ peer }: Session, step: RecordedStep): Promise<void> {
  for (const event of step.exchange) {
    const number = Number(event.slice(1));
    if (event === 's:eof') continue;
    if (event.startsWith('c') && !event.includes(':')) peer.send(step.client[number]!.wire);
    if (!event.startsWith('s')) continue;
    const recorded = step.server[number]!;
    const got = await peer.message();
    const other = recorded.kind === 'response body' ? otherBodies[step.name] : undefined;
    if (other !== undefined) expect(got?.payload.toString()).toBe(`${other}\n`);
    else if (step.name === '47-source-zero-read' && recorded.kind === 'stream') expect(got?.payload).toHaveLength(1000);
    else expectAsRecorded(got?.payload, recorded);
  }
}

/** A pull that asks what the recorded one asked. */
function recordedPull(step: RecordedStep) {
  const isRequest = ({ kind }: RecordedMessage): boolean => kind === 'request header' || kind === 'request body';
  const requests = step.server.filter(isRequest);
  return async (client: RPCRequester) => {
    for (let at = 0; at + 2 < requests.length; at += 2) await askRecorded(client, requests[at]!, requests[at + 1]!);
    return { filesystems: [] };
  };
}

describe.each([1, 2] as const)('our server (to version %i), the recorded client (scenario 8)', (maximumVersion) => {
  test.each(recordedSteps.filter(({ name }) => !isSpecial(name)).map((step) => [step.name, step] as const))(
    '%s: answers as recorded, and stays in service',
    async (name, step) => {
      const pulling = { ...recordedHandler(step), pullMe: () => Promise.resolve(recordedPull(step)) };
      const session = await open(step, maximumVersion, { handler: pulling });
      await play(session, step);
      if (name === '17-close') {
        expect(await session.served).toBeNull();
        return;
      }
      await expectInService(session.peer);
      await expectQuietEnd(session);
    },
  );

  test.each(Object.entries(differences))('%s: answers in our own way', async (name, difference) => {
    const step = recordedStep(name);
    const clientIdentity = name.startsWith('50') ? 'local' : 'go';
    const session = await open(step, maximumVersion, { clientIdentity });
    const { peer } = session;
    const requests = name.startsWith('51') ? step.client.slice(0, 2) : step.client;
    peer.send(wireOf(requests));
    if (step.exchange.includes('c:half-close')) peer.end();
    if (difference.errorId !== null) {
      const header = oracle((await peer.message())!.payload);
      expect(header).toEqual({
        RequestId: difference.requestId ?? Array(16).fill(0),
        ErrorId: difference.errorId,
        Message: expect.stringMatching(difference.says!) as string,
        ResponseType: 0,
      });
    }
    if (difference.after === 'in service') {
      if (difference.rest !== undefined) peer.send(difference.rest);
      await expectInService(peer);
      await expectQuietEnd(session);
    } else {
      const failure = await session.served;
      expect(failure?.code ?? null).toBe(difference.after === 'STREAM_TRUNCATED' ? difference.after : null);
      expect(await peer.rest()).toEqual(Buffer.alloc(0));
    }
  });

  test.each(brokenStreams)('%s: never looks complete, and the listener fails', async (name) => {
    const step = recordedStep(name);
    const session = await open(step, maximumVersion);
    peerSends(session, step);
    const failure = await session.served;
    expect(failure).toMatchObject({ code: 'SOURCE_FAILED', message: 'the recorded source fails here' });
    const rest = await session.peer.rest();
    // What a dropped connection had not delivered yet may be lost; what came is a beginning of what was recorded.
    expect(wireOf(step.server).subarray(0, rest.byteLength)).toEqual(rest);
  });

  test('49, a pull that fails after it was confirmed: the connection is dropped', async () => {
    const step = recordedStep('50-pullme-identity-local');
    const failing = {
      ...recordedHandler(step),
      pullMe: () => Promise.resolve(() => Promise.reject(new SnapferryError('BUSY', 'not now'))),
    };
    const session = await open(step, maximumVersion, { handler: failing });
    peerSends(session, step);
    expect(await session.served).toMatchObject({ code: 'BUSY' });
    const rest = await session.peer.rest();
    expect(wireOf(recordedStep('49-pullme-fails').server).subarray(0, rest.byteLength)).toEqual(rest);
  });
});

function peerSends({ peer }: Session, step: RecordedStep): void {
  peer.send(wireOf(step.client));
}
