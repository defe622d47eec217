import fc from 'fast-check';
import { ByteReader } from '../../src/chunker/byte-reader.ts';
import { parseJSON, stringifyJSON, textOf, type JSONValue } from '../../src/chunker/json-message.ts';
import { ChunkReader } from '../../src/chunker/unchunk.ts';
import { isErrorCode, SnapferryError } from '../../src/errors.ts';
import { Fields } from '../../src/rpc/fields.ts';
import * as messages from '../../src/rpc/messages.ts';
import { allFrames, spoil, type Draw } from './fuzz-frames.ts';
import { fuzzClient, fuzzServer, fuzzSession } from './fuzz-sessions.ts';

/** What is fuzzed: takes draws, checks what must always hold, and says how many spoilt frames it has worked on. */
export interface FuzzTarget {
  readonly name: string;
  /** Share of all frames that go to this target. */
  readonly share: number;
  /** @throws Error when something that must always hold does not */
  check(draws: readonly Draw[]): Promise<number>;
}

function fail(what: string): never {
  throw new Error(what);
}

/** The code of an error, which must be one of ours. */
function codeOf(error: unknown): string {
  if (!(error instanceof SnapferryError)) throw new Error(`not an error of ours: ${String(error)}`, { cause: error });
  if (!isErrorCode(error.code) || error.message === '') fail(`an error without code or text: ${error.code}`);
  return error.code;
}

const bounds = { message: 5000, control: 64 } as const;

/** Chunks decoded the simple way, out of one buffer: what {@link ChunkReader} must find, too. */
function decodedSimply(bytes: Buffer, controlChunks: boolean): string[] {
  const found: string[] = [];
  let at = 0;
  /** The next data chunk's length; a text is how it ends. */
  const header = (mayEnd: boolean): number | string => {
    for (;;) {
      if (at === bytes.length && mayEnd) return 'end';
      if (at + 4 > bytes.length) return 'STREAM_TRUNCATED';
      const length = bytes.readUInt32LE(at);
      at += 4;
      if (!controlChunks || length < 0x8000_0000) return length;
      if (length - 0x8000_0000 > bounds.control) return 'LIMIT_EXCEEDED';
      at += length - 0x8000_0000;
      if (at > bytes.length) return 'STREAM_TRUNCATED';
    }
  };
  for (let isMessage = true; ; isMessage = !isMessage) {
    const pieces: Buffer[] = [];
    let size = 0;
    for (;;) {
      const length = header(isMessage && pieces.length === 0);
      if (typeof length === 'string') return [...found, length];
      if (length === 0) break;
      if (isMessage && size + length > bounds.message) return [...found, 'LIMIT_EXCEEDED'];
      size += length;
      pieces.push(bytes.subarray(at, at + length));
      at += length;
      if (at > bytes.length) return [...found, 'STREAM_TRUNCATED'];
    }
    found.push(Buffer.concat(pieces).toString('latin1'));
  }
}

async function decoded(pieces: readonly Uint8Array[], controlChunks: boolean): Promise<string[]> {
  async function* source(): AsyncGenerator<Uint8Array> {
    await Promise.resolve();
    for (const piece of pieces) {
      const lent = new Uint8Array(piece);
      yield lent;
      // Whoever kept it without a copy reads this.
      lent.fill(0xdb);
    }
  }
  const reader = new ChunkReader(new ByteReader(source()), { controlBytesMax: bounds.control });
  reader.controlChunks = controlChunks;
  const found: string[] = [];
  try {
    for (;;) {
      const message = await reader.message(bounds.message, 'message');
      if (message === null) return [...found, 'end'];
      found.push(Buffer.from(message).toString('latin1'));
      let text = '';
      for await (const list of reader.stream()) text += Buffer.from(list.slice()).toString('latin1');
      found.push(text);
    }
  } catch (error) {
    return [...found, codeOf(error)];
  }
}

async function fuzzDecoder(draws: readonly Draw[]): Promise<number> {
  const frames = draws.map((draw) => spoil(allFrames, draw));
  const bytes = Buffer.concat(frames.map(({ frame }) => frame));
  const [first, second] = [draws[0]?.[2] ?? 0, draws[0]?.[3] ?? 0];
  const pieceBytes = first % 3 === 0 ? bytes.length + 1 : 1 + (second % 97);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes));
  for (const controlChunks of [false, true]) {
    const [simply, ours] = [decodedSimply(bytes, controlChunks), await decoded(pieces, controlChunks)];
    if (simply.join('\0\0') !== ours.join('\0\0')) {
      fail(`decoded as ${JSON.stringify(ours)} where ${JSON.stringify(simply)} was sent`);
    }
  }
  return frames.filter(({ isSpoilt }) => isSpoilt).length;
}

/** A value with its numbers as a double holds them and its fields in one order: how two parsers' results compare. */
function normal(value: JSONValue): string {
  if (typeof value === 'bigint') return String(Number(value));
  if (value === null || typeof value !== 'object')
    return typeof value === 'string' ? JSON.stringify(value) : String(value);
  if (Array.isArray(value)) return `[${value.map(normal).join(',')}]`;
  const fields = Object.keys(value).sort();
  return `{${fields.map((name) => `${JSON.stringify(name)}:${normal(value[name] ?? null)}`).join(',')}}`;
}

function settled<T>(run: () => T): { readonly value: T } | { readonly error: unknown } {
  try {
    return { value: run() };
  } catch (error) {
    return { error };
  }
}

const depthMax = 32;

function checkJSON(text: string): void {
  const builtIn = settled(() => JSON.parse(text) as JSONValue);
  const ours = settled(() => parseJSON(text, depthMax));
  if ('error' in ours) {
    const code = codeOf(ours.error);
    if ('value' in builtIn && code !== 'LIMIT_EXCEEDED') fail(`refused: ${text}`);
  } else if ('value' in builtIn) {
    if (normal(ours.value) !== normal(builtIn.value)) fail(`read as ${normal(ours.value)}: ${text}`);
    if (!/\d[.eE]|\d{41}/.test(text) && hasRounded(ours.value)) fail(`read inexactly: ${text}`);
  } else if (!isBeginning(text, ours.value)) {
    fail(`read as ${normal(ours.value)} although it is no JSON: ${text}`);
  }
}

/** Whether an integer became a double that cannot hold it. */
function hasRounded(value: JSONValue): boolean {
  if (typeof value === 'number') return !Number.isSafeInteger(value);
  return value !== null && typeof value === 'object' && Object.values(value).some(hasRounded);
}

/** Whether the text begins with that value: what follows a value is ignored. */
function isBeginning(text: string, value: JSONValue): boolean {
  const wanted = normal(value);
  for (let end = 1; end < text.length; end++) {
    const beginning = settled(() => JSON.parse(text.slice(0, end)) as JSONValue);
    if ('value' in beginning && normal(beginning.value) === wanted) return true;
  }
  return false;
}

function payloadOf(frame: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at + 4 <= frame.length;) {
    const length = frame.readUInt32LE(at);
    if (length === 0) break;
    pieces.push(frame.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return Buffer.concat(pieces);
}

/** A long message is a short one many times over. */
const shortFrames = allFrames.filter(({ length }) => length < 1024);

async function eachPayload(draws: readonly Draw[], check: (payload: Buffer) => void): Promise<number> {
  let spoilt = 0;
  for (const draw of draws) {
    const { frame, isSpoilt } = spoil(shortFrames, draw);
    check(payloadOf(frame));
    if (isSpoilt) spoilt++;
  }
  return Promise.resolve(spoilt);
}

type Shape = (value: JSONValue) => unknown;
const inFields =
  (decode: (fields: Fields) => unknown): Shape =>
  (value) =>
    decode(new Fields(value, 'message'));

/** Every shape a message can have. */
const shapes: readonly Shape[] = [
  messages.decodeRequestHeader,
  messages.decodeResponseHeader,
  messages.decodeTrailer,
  messages.decodeVersions,
  messages.decodePaths,
  messages.decodeReport,
  messages.decodeFinishedError,
  messages.decodeControl,
  inFields((fields) => messages.decodeVersion(fields.raw('FilesystemVersion'))),
];

function checkMessage(payload: Buffer): void {
  const whole = settled(() =>
    messages.decode(payload, 'message', { bytesMax: 20_000, jsonDepthMax: depthMax }, (value) => value),
  );
  if ('error' in whole) {
    codeOf(whole.error);
    return;
  }
  for (const shape of shapes) {
    const result = settled(() => shape(whole.value));
    if ('error' in result) codeOf(result.error);
  }
  const versions = settled(() => messages.decodeVersions(whole.value));
  if ('error' in versions) return;
  const written = stringifyJSON(versions.value.map(messages.encodeVersion));
  const again = stringifyJSON(messages.decodeVersions(parseJSON(written, depthMax)).map(messages.encodeVersion));
  // What is no text is sent as the sign for that, and comes back as it.
  if (again.replaceAll('\ufffd', '\\ufffd') !== written.replaceAll('\ufffd', '\\ufffd'))
    fail(`versions change when they are sent back: ${written} became ${again}`);
}

/** Everything that reads what a peer sent, from the inside out. */
export const fuzzTargets: readonly FuzzTarget[] = [
  { name: 'decoder', share: 0.55, check: fuzzDecoder },
  { name: 'json', share: 0.12, check: (draws) => eachPayload(draws, (payload) => checkJSON(textOf(payload))) },
  { name: 'messages', share: 0.1, check: (draws) => eachPayload(draws, checkMessage) },
  { name: 'server', share: 0.18, check: fuzzServer },
  { name: 'client', share: 0.04, check: fuzzClient },
  { name: 'session', share: 0.01, check: fuzzSession },
];

/** Frames to be spoilt; shrinks to few and plain ones. */
export const drawsArbitrary: fc.Arbitrary<Draw[]> = fc.array(
  fc.tuple(fc.nat(997), fc.nat(44), fc.nat(65_535), fc.nat(65_535)),
  { minLength: 1, maxLength: 40, size: 'max' },
);
