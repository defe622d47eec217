import type { JSONInput } from '../../src/chunker/json-message.ts';
import { isErrorCode, SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import { streamDigest } from '../../src/rpc/digest.ts';
import { answerCustom, customCall } from '../../src/rpc/custom-requests.ts';
import type { CustomRequest, Pull, RPCRequester } from '../../src/rpc/interfaces.ts';
import { Uint8ArrayList } from 'uint8arraylist';
import { faultPair, type Fault } from './fault-pair.ts';
import {
  customFrames,
  isSeldom,
  noiseKind,
  requestFrames,
  seldomSpoil,
  spoil,
  spoilKinds,
  type Draw,
} from './fuzz-frames.ts';
import { seededBytes } from './recorded.ts';
import { framed, messageOf, scripted, type ScriptedPeer } from './scripted-peer.ts';
import { answerTo, request } from './scripted-session.ts';
import { everyCall, filesystem, runSession, sessionHandler, type Result } from './session.ts';

const quiet = { heartbeatMs: 3_600_000 } as const;
const turnsMax = 20_000;

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The promise, if it settles while nothing but what has been sent can make it settle. */
async function withoutWaiting<T>(promise: Promise<T>, what: string): Promise<T> {
  const state = { isSettled: false };
  const settle = (): void => {
    state.isSettled = true;
  };
  promise.then(settle, settle);
  for (let turns = 0; !state.isSettled; turns++) {
    if (turns > turnsMax) throw new Error(`${what} does not settle`);
    await turn();
  }
  return promise;
}

/** Lets things happen until `isDone`, or for so long that nothing more will. */
async function settledOrStill(isDone: () => boolean, progress: () => number): Promise<void> {
  for (let still = 0, last = -1; still < 8 && !isDone(); still++) {
    await turn();
    if (progress() !== last) still = 0;
    last = progress();
  }
}

function checkError(error: unknown): void {
  if (!(error instanceof SnapferryError) || !isErrorCode(error.code)) {
    throw new Error(`not an error of ours: ${String(error)}`, { cause: error });
  }
}

const anything = (value: unknown): JSONInput => value as JSONInput;

const store = customCall({ type: 0x80, name: 'Store', request: anything, answer: 'ok', upload: true });

/** Takes uploads, and keeps those that were whole. */
function storing(uploads: string[]): CustomRequest {
  return answerCustom(store, async (_, __, upload) => {
    let text = '';
    for await (const piece of upload) text += Buffer.from(piece.slice()).toString('latin1');
    uploads.push(text);
  });
}

const fetching = answerCustom(customCall({ type: 0x81, name: 'Fetch', request: anything, answer: 'stream' }), () =>
  Promise.resolve({ format: null, estimatedBytes: null, resumed: false, bytes: piecesOfHello() }),
);

async function* piecesOfHello(): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield Buffer.from('hello');
}

const serverFrames = [...requestFrames, ...customFrames];

/** Our server, greeted, and then asked with spoilt requests: settles, with an error of ours or none; its answers have a form. */
export async function fuzzServer(draws: readonly Draw[]): Promise<number> {
  const { stream, peer } = scripted();
  const handled: string[] = [];
  const uploads: string[] = [];
  const pull: Pull = async (client) => {
    const results = await everyCall(client);
    checkTransfers(results);
    return { filesystems: [] };
  };
  const handler = { ...sessionHandler(handled, pull), custom: [storing(uploads), fetching] };
  const served = ByteStreamRPC.listen(stream, { ...quiet, clientIdentity: 'mallory', handler }).then(
    () => null,
    (error: unknown) => error,
  );
  const isVersion2 = (draws[0]?.[3] ?? 0) % 2 === 0;
  peer.send(request(1, [], { ClientVersion: 1, ...(isVersion2 ? { MaxVersion: 2, Digests: ['xxh64'] } : {}) }));
  await peer.message();
  let spoilt = 0;
  const bytes = draws.map((draw) => {
    const { frame, isSpoilt } = spoil(serverFrames, draw);
    if (isSpoilt) spoilt++;
    return frame;
  });
  const pieceBytes = 1 + ((draws[0]?.[2] ?? 0) % 5000);
  peer.send(Buffer.concat(bytes), (all) => piecesOf(all, pieceBytes));
  peer.end();
  const failure = await withoutWaiting(served, 'listen');
  if (failure !== null) checkError(failure);
  if (uploads.some((text) => text !== 'hello')) throw new Error('a damaged upload was taken as whole');
  const first = await peer.message();
  if (first !== null) checkAnswer(first.payload);
  return spoilt;
}

function piecesOf(bytes: Uint8Array, pieceBytes: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.byteLength; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes));
  return pieces;
}

function checkAnswer(payload: Buffer): void {
  const header = JSON.parse(payload.toString()) as { RequestId?: unknown; Type?: unknown; ErrorId?: unknown };
  // After a PullMe it is a request.
  if (!Array.isArray(header.RequestId) && typeof header.Type !== 'number') {
    throw new Error(`no answer: ${payload.toString()}`);
  }
}

const expected = [seededBytes('initialTransfer', 300), seededBytes('incrementalTransfer', 300)];

/**
 * What a transfer gave is what was sent, whatever was done to it on the way. Where requests are spoilt, one may have
 * become another: then it is the whole of that.
 */
function checkTransfers(results: readonly Result[], areRequestsSpoilt = false): void {
  for (const [index, result] of results.slice(3, 5).entries()) {
    const sent = areRequestsSpoilt ? expected : [expected[index]!];
    if (result.ok && !sent.some((bytes) => bytes.equals(result.value as Buffer))) {
      throw new Error('a damaged transfer was taken as whole');
    }
  }
}

async function digestOf(bytes: Uint8Array): Promise<string> {
  const digest = await streamDigest('xxh64');
  digest.update(new Uint8ArrayList(bytes));
  return digest.value();
}

const digests = await Promise.all(expected.map(digestOf));

/** The answer to a request, message by message. */
function framesFor(type: number, id: readonly number[]): Buffer[] {
  const header = (responseType: number): Buffer => answerTo(id, { ResponseType: responseType });
  const transfer = (index: 0 | 1): Buffer[] => [
    header(0x20),
    framed(expected[index]!),
    messageOf({ ErrorId: 0, Bytes: 300, Digest: { Algorithm: 'xxh64', Value: digests[index] } }),
  ];
  switch (type) {
    case 0x10:
      return [header(0x10), messageOf([filesystem])];
    case 0x11:
      return [header(0x11), messageOf([{ Type: 'snapshot', Name: 'a', Guid: 1, CreateTXG: 2 }])];
    case 0x12:
      return transfer(0);
    case 0x13:
      return transfer(1);
    case 0x14:
      return [header(0x12), messageOf({ Bytes: 12345 })];
    case 0x20:
      return [
        header(1),
        request(0x11, id, { Filesystem: filesystem }),
        request(0x20, id, { Finished: true, Report: { Filesystems: [] } }),
      ];
    default:
      return [header(1)];
  }
}

/** Kinds of spoiling that leave nothing to be understood: noise in the place of the payload. */
function isBeyondRecognition(draw: Draw): boolean {
  const [, kind, at] = draw;
  return isSeldom(draw) && kind % spoilKinds === noiseKind && at % 300 >= 8;
}

interface Responder {
  readonly spoilt: () => number;
  readonly lost: () => number;
}

/** Answers what our client asks with spoilt frames, and ends when that leads nowhere. */
function respond(peer: ScriptedPeer, draws: readonly Draw[], isOver: () => boolean): Responder {
  let next = 0;
  let spoilt = 0;
  let lost = 0;
  const answer = async (): Promise<void> => {
    for (;;) {
      const header = await peer.message();
      if ((await peer.message()) === null || header === null) return;
      const asked = JSON.parse(header.payload.toString()) as { Type?: number; Id?: number[]; RequestId?: unknown };
      // An answer of the pushing side is no request.
      if (asked.Type === undefined) continue;
      for (const frame of framesFor(asked.Type, asked.Id ?? [])) {
        const draw = draws[next++];
        const sent = draw === undefined ? { frame, isSpoilt: false } : seldomSpoil(frame, draw);
        // Noise behind a message that lost its end would be what may follow a message, and is ignored.
        if (spoilt === 0 && asked.Type !== 0xf0 && draw !== undefined && isBeyondRecognition(draw)) lost++;
        if (sent.isSpoilt) spoilt++;
        peer.send(sent.frame);
      }
    }
  };
  void answer();
  void settledOrStill(isOver, () => next + peer.untaken.length).then(() => peer.end());
  return { spoilt: () => spoilt, lost: () => lost };
}

/** Our client, answered with spoilt answers: every call settles, and none succeeds with what cannot be understood. */
export async function fuzzClient(draws: readonly Draw[]): Promise<number> {
  const { stream, peer } = scripted();
  const connecting = ByteStreamRPC.connect(stream, quiet);
  const hello = await peer.message();
  await peer.message();
  const { Id: id } = JSON.parse(hello!.payload.toString()) as { Id: number[] };
  peer.send(answerTo(id, { ResponseType: 1, Version: 2, Digest: 'xxh64' }));
  const client = await connecting;
  const state = { isOver: false };
  const responder = respond(peer, draws, () => state.isOver);
  const results = await withoutWaiting(callAll(client), 'a call');
  state.isOver = true;
  checkTransfers(results);
  for (const result of results) if (!result.ok && !isErrorCode(result.code)) throw new Error(`code ${result.code}`);
  if (responder.lost() > 0 && results.every(({ ok }) => ok)) throw new Error('noise was taken for an answer');
  client.forceClose();
  peer.end();
  return responder.spoilt();
}

async function callAll(client: RPCRequester): Promise<Result[]> {
  const results = await everyCall(client);
  if (!results.every(({ ok }) => ok)) return results;
  const push = client.pullMe({ initialReplicationPolicy: 'all' }, sessionHandler([]));
  const pushed: Result = await push.then(
    (value) => ({ ok: true, value }),
    (error: unknown) => {
      checkError(error);
      return { ok: false, code: (error as SnapferryError).code };
    },
  );
  return [...results, pushed];
}

/** Both our ends, PullMe included, and a line between them that spoils what passes. */
export async function fuzzSession(draws: readonly Draw[]): Promise<number> {
  let next = 0;
  let spoilt = 0;
  const fault: Fault = {
    change(piece) {
      const draw = draws[next++];
      if (draw === undefined) return piece;
      const changed = seldomSpoil(Buffer.from(piece), draw);
      if (changed.isSpoilt) spoilt++;
      return changed.frame;
    },
  };
  const isToNear = (draws[0]?.[2] ?? 0) % 2 === 0;
  const pair = isToNear ? faultPair({}, fault) : faultPair(fault);
  const state = { isOver: false };
  const running = runSession(pair, quiet).finally(() => (state.isOver = true));
  running.catch(() => undefined);
  await settledOrStill(
    () => state.isOver,
    () => pair.sentBytes.toFar + pair.sentBytes.toNear,
  );
  if (!state.isOver) {
    pair.near.abort(new SnapferryError('CONNECTION_LOST', 'nothing moves any more'));
    pair.far.abort(new SnapferryError('CONNECTION_LOST', 'nothing moves any more'));
  }
  const { results } = await withoutWaiting(running, 'the session');
  checkTransfers(results, !isToNear);
  return spoilt;
}
