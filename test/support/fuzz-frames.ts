import { stringifyJSON } from '../../src/chunker/json-message.ts';
import { recordedSteps } from './recorded.ts';
import { chunkOf, controlOf, framed, messageOf } from './scripted-peer.ts';

/** One frame as fast-check draws it: which, how it is spoilt, and two numbers that say where and with what. */
export type Draw = readonly [base: number, kind: number, at: number, value: number];

/** A message or stream as it stands on the wire. */
export type Frame = Buffer;

const version = { Type: 'snapshot', Name: 'a <&>', Guid: 2n ** 64n - 1n, CreateTXG: 2n ** 53n + 1n };
const id = Array.from({ length: 16 }, (_, at) => at * 16);

function generated(...messages: readonly object[]): Frame[] {
  return messages.map((message) => messageOf(stringifyJSON(message as never)));
}

/** What a version-2 requester says. */
export const requestFrames: readonly Frame[] = [
  ...recordedSteps.flatMap(({ client }) =>
    client.filter(({ kind }) => kind.startsWith('request')).map(({ wire }) => wire),
  ),
  ...generated(
    { Type: 0x01, Id: id },
    { ClientVersion: 1, MaxVersion: 2, Agent: 'x', HeartbeatMs: 5000, Digests: ['xxh64', 'sha256'] },
    { Type: 0x12, Id: id },
    { Filesystem: ['tank'], FilesystemVersion: version, ResumeToken: 'token', JobId: 'job' },
    { Type: 0x14, Id: id },
    { Filesystem: ['tank', 'home'], From: null, To: version },
    { Type: 0x15, Id: id },
    { Filesystem: ['tank'], Version: version, JobId: 'job' },
    { Type: 0x20, Id: id },
    { Finished: false, InitialReplPolicy: 'all' },
    { Finished: true, InitialReplPolicy: '', Report: { Filesystems: [{ Filesystem: ['a'], Ok: true, Bytes: 1 }] } },
    { Type: 0xf0, Id: id },
    { Goodbye: 'bye' },
  ),
];

/** What a responder says, in both versions. */
export const responseFrames: readonly Frame[] = [
  // The long streams are a hundred chunks alike.
  ...recordedSteps.flatMap(({ server }) => server.map(({ wire }) => wire)).filter(({ length }) => length < 8192),
  ...generated(
    {
      RequestId: id,
      ErrorId: 0,
      Message: '',
      ResponseType: 1,
      Version: 2,
      Agent: 'x',
      HeartbeatMs: 5000,
      Digest: 'xxh64',
    },
    { RequestId: id, ErrorId: 5, Message: 'no', ResponseType: 0, Code: 'DATASET_NOT_FOUND', Retryable: false },
    {
      RequestId: id,
      ErrorId: 0,
      Message: '',
      ResponseType: 0x20,
      StreamFormat: 'zfs',
      EstimatedBytes: 5,
      Resumed: true,
    },
    { ErrorId: 0, Message: '', Bytes: 5, Digest: { Algorithm: 'xxh64', Value: '26c7827d889f6da3' } },
    { Bytes: 12345 },
  ),
  messageOf(stringifyJSON([version, { ...version, Type: 'bookmark' }] as never)),
  framed(Buffer.from('hello')),
];

/** A request with its upload, which single frames in any order would seldom become. */
const wholeUpload = Buffer.concat([
  ...generated({ Type: 0x80, Id: id, Upload: true }, {}),
  framed(Buffer.from('hello')),
  ...generated({ ErrorId: 0, Bytes: 5, Digest: { Algorithm: 'xxh64', Value: '26c7827d889f6da3' } }),
]);

/** What a requester says to a program with requests of its own. */
export const customFrames: readonly Frame[] = [
  ...Array<Frame>(10).fill(wholeUpload),
  ...generated({ Type: 0x80, Id: id, Upload: true }, { Any: ['thing'] }),
  framed(Buffer.from('hello')),
  ...generated(
    { ErrorId: 0, Message: '', Bytes: 5, Digest: { Algorithm: 'xxh64', Value: '26c7827d889f6da3' } },
    { Type: 0x81, Id: id },
    { Any: 'thing' },
    { Type: 0x30, Id: id },
    { Protocol: 'shell' },
  ),
];

/** Everything that was ever recorded or can be said. */
export const allFrames: readonly Frame[] = [...requestFrames, ...responseFrames];

const lengths = [
  0, 1, 3, 4, 255, 4096, 4097, 65_536, 65_537, 0x100_0000, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_ffff,
];
const numbers = [
  '-1',
  '-0',
  '1.5',
  '1e400',
  '256',
  '9007199254740993',
  '18446744073709551615',
  '18446744073709551616',
  '00',
];
const tokens = [
  'null',
  '{}',
  '[]',
  '""',
  'true',
  '"__proto__"',
  '[[',
  '}',
  '"\\ud800"',
  '"\\u0000"',
  ',',
  '{"constructor":1}',
];
const controls = [
  controlOf(),
  controlOf({ Cancel: id }),
  controlOf({ Progress: { Message: 'm', Done: 1 } }),
  controlOf({ Other: [] }),
];

type Spoil = (frame: Frame, at: number, value: number) => Frame;

function pick<T>(from: readonly T[], index: number): T {
  return from[index % from.length]!;
}

function noise(value: number, bytes: number): Buffer {
  const out = Buffer.alloc(bytes);
  let state = (value ^ 0x9e3779b9) >>> 0 || 1;
  for (let at = 0; at < bytes; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state = (state ^ (state << 5)) >>> 0;
    out[at] = state & 0xff;
  }
  return out;
}

/** The payload with its `at`th match replaced, in one chunk. */
function replaced(frame: Frame, pattern: RegExp, at: number, by: string): Frame {
  const text = payloadOf(frame).toString('latin1');
  const matches = [...text.matchAll(pattern)];
  if (matches.length === 0) return flip(frame, at, 1);
  const match = pick(matches, at);
  return framed(Buffer.from(text.slice(0, match.index) + by + text.slice(match.index + match[0].length), 'latin1'));
}

function payloadOf(frame: Frame): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at + 4 <= frame.length;) {
    const length = frame.readUInt32LE(at);
    pieces.push(frame.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return Buffer.concat(pieces);
}

const flip: Spoil = (frame, at, value) => {
  const copy = Buffer.from(frame);
  if (copy.length > 0) copy[at % copy.length]! ^= 1 << (value % 8);
  return copy;
};

/** The index in {@link spoils} of noise in the place of the payload. */
export const noiseKind = 7;

/** Every way to spoil a frame. The first leaves it as it is. */
const spoils: readonly Spoil[] = [
  (frame) => frame,
  flip,
  (frame, _, value) => {
    const copy = Buffer.from(frame);
    if (copy.length >= 4) copy.writeUInt32LE(pick(lengths, value));
    return copy;
  },
  (frame, at) => frame.subarray(0, at % (frame.length + 1)),
  (frame, at, value) => {
    const place = at % (frame.length + 1);
    return Buffer.concat([frame.subarray(0, place), noise(value, 1 + (value % 9)), frame.subarray(place)]);
  },
  (frame, at, value) => {
    const place = at % (frame.length + 1);
    return Buffer.concat([frame.subarray(0, place), frame.subarray(place + 1 + (value % 9))]);
  },
  (frame) => Buffer.concat([frame, frame]),
  (_, at, value) => framed(noise(value, at % 300)),
  (frame) => {
    const payload = payloadOf(frame).subarray(0, 500);
    const bytes = Array.from(payload, (_, at) => chunkOf(payload.subarray(at, at + 1)));
    return Buffer.concat([...bytes, Buffer.alloc(4)]);
  },
  (frame, _, value) => Buffer.concat([pick(controls, value), frame]),
  (frame, at, value) => replaced(frame, /\d+/g, at, pick(numbers, value)),
  (frame, at, value) => replaced(frame, /"[^"]*"|[[{]/g, at, pick(tokens, value)),
  (frame) => frame.subarray(0, -4),
  (frame, at) => replaced(frame, /[[{"]/g, 0, '['.repeat(1 + (at % 70))),
  (_, at) => Buffer.alloc(4 * (1 + (at % 3))),
  (frame, at) => {
    const again = chunkOf(payloadOf(frame).subarray(0, 2000));
    return Buffer.concat([...Array.from({ length: 1 + (at % 20) }, () => again), Buffer.alloc(4)]);
  },
];

/** How many ways there are to spoil a frame. */
export const spoilKinds = spoils.length;

/** The frame a draw means, out of `frames`, and whether it was spoilt. */
export function spoil(frames: readonly Frame[], [base, kind, at, value]: Draw): { frame: Frame; isSpoilt: boolean } {
  return spoilFrame(pick(frames, base), [base, kind, at, value]);
}

/** As {@link spoilFrame}, but most frames stay as they are: who spoils the first sees nothing of the rest. */
export function seldomSpoil(frame: Frame, draw: Draw): { frame: Frame; isSpoilt: boolean } {
  return isSeldom(draw) ? spoilFrame(frame, draw) : { frame, isSpoilt: false };
}

/** Whether a draw is one of the few that {@link seldomSpoil} heeds. */
export function isSeldom([base]: Draw): boolean {
  return base % 6 === 0;
}

/** This frame, spoilt as a draw says. */
export function spoilFrame(frame: Frame, [, kind, at, value]: Draw): { frame: Frame; isSpoilt: boolean } {
  const spoilt = pick(spoils, kind)(frame, at, value);
  return { frame: spoilt, isSpoilt: !spoilt.equals(frame) };
}
