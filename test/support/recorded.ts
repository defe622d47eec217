import { readFileSync } from 'node:fs';
import { formatDatasetPath } from '../../src/dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../../src/dataset.ts';
import { SnapferryError } from '../../src/errors.ts';
import type { RPCHandler, RPCRequester, Transfer } from '../../src/rpc/interfaces.ts';

/** One message of a transcript of the program of 2017. */
export interface RecordedMessage {
  readonly kind: 'request header' | 'request body' | 'response header' | 'response body' | 'stream' | 'other';
  readonly wire: Buffer;
  readonly payload: Buffer;
  readonly isTerminated: boolean;
  /** Names the bytes of a stream. */
  readonly seed: string | null;
}

/** One exchange: what went each way, and in which order the messages were complete. */
export interface RecordedStep {
  readonly name: string;
  readonly needsHello: boolean;
  /** `c0`, `s0`: a message of client or server; `c:half-close`, `c:close`, `s:eof`, `s:reset`. */
  readonly exchange: readonly string[];
  readonly client: readonly RecordedMessage[];
  readonly server: readonly RecordedMessage[];
}

interface IndexFile {
  readonly file: string;
  readonly direction: 'client-to-server' | 'server-to-client';
  readonly messages: readonly {
    readonly offset: number;
    readonly wire_bytes: number;
    readonly chunks: readonly number[];
    readonly kind: RecordedMessage['kind'];
    readonly seed?: string;
  }[];
}

interface Index {
  readonly steps: readonly {
    readonly step: string;
    readonly precondition: readonly string[];
    readonly exchange: readonly string[];
    readonly files: readonly IndexFile[];
  }[];
}

const folder = new URL('../fixtures/wire/', import.meta.url);

function messagesOf(file: IndexFile | undefined): RecordedMessage[] {
  if (file === undefined) return [];
  const bytes = readFileSync(new URL(file.file, folder));
  return file.messages.map(({ kind, offset, wire_bytes: wireBytes, chunks, seed }) => {
    const wire = bytes.subarray(offset, offset + wireBytes);
    let at = 0;
    const pieces = chunks.map((length) => wire.subarray(at + 4, (at += 4 + length)));
    return { kind, wire, payload: Buffer.concat(pieces), isTerminated: chunks.at(-1) === 0, seed: seed ?? null };
  });
}

const index = JSON.parse(readFileSync(new URL('index.json', folder), 'utf8')) as Index;

/** Every recorded exchange, in the order of the index. */
export const recordedSteps: readonly RecordedStep[] = index.steps.map(({ step, precondition, exchange, files }) => ({
  name: step,
  needsHello: precondition.length > 0,
  exchange,
  client: messagesOf(files.find(({ direction }) => direction === 'client-to-server')),
  server: messagesOf(files.find(({ direction }) => direction === 'server-to-client')),
}));

/** @throws Error for a name that is not in the index */
export function recordedStep(name: string): RecordedStep {
  const found = recordedSteps.find((step) => step.name === name);
  if (found === undefined) throw new Error(`no recorded step ${name}`);
  return found;
}

/** Everything one side sent in a step. */
export function wireOf(messages: readonly RecordedMessage[]): Buffer {
  return Buffer.concat(messages.map(({ wire }) => wire));
}

/** A JSON payload by means other than our parser; Guid and CreateTXG are bigints. */
export function oracle(payload: Uint8Array): unknown {
  const text = Buffer.from(payload).toString('utf8');
  const quoted = text.replace(/"(Guid|CreateTXG)":(\d+)/g, '"$1":"$2"');
  return JSON.parse(quoted, (name, value: unknown) =>
    name === 'Guid' || name === 'CreateTXG' ? BigInt(value as string) : value,
  ) as unknown;
}

interface WireVersion {
  readonly Type: string;
  readonly Name: string;
  readonly Guid: bigint;
  readonly CreateTXG: bigint;
  readonly Creation?: string;
}

function versionOf(wire: WireVersion): FilesystemVersion {
  const { Type: type, Name: name, Guid: guid, CreateTXG: createTXG, Creation: creation = null } = wire;
  return { type, name, guid, createTXG, creation };
}

/** The versions a recorded answer holds, null as none. */
export function versionsOf(payload: Uint8Array): FilesystemVersion[] {
  return ((oracle(payload) ?? []) as WireVersion[]).map(versionOf);
}

/** The bytes a recorded stream begins with, by the rule the recordings were made with. */
export function seededBytes(seed: string, count: number): Buffer {
  let x = 0x811c9dc5;
  for (const byte of Buffer.from(seed)) x = Math.imul(x ^ byte, 0x01000193) >>> 0;
  if (x === 0) x = 0x9e3779b9;
  const bytes = Buffer.alloc(Math.ceil(count / 4) * 4);
  for (let at = 0; at < count; at += 4) {
    x ^= x << 13;
    x ^= x >>> 17;
    x = (x ^ (x << 5)) >>> 0;
    bytes.writeUInt32LE(x, at);
  }
  return bytes.subarray(0, count);
}

/** What the recorded server's handler knew, taken from its answers to the recorded requests. */
const answers = new Map<string, Buffer>();
for (const step of recordedSteps) {
  const body = step.client.find(({ kind }) => kind === 'request body');
  const answer = step.server.find(({ kind }) => kind === 'response body');
  const isVersions = step.client[0]?.payload.includes('"Type":17,') === true;
  if (body === undefined || answer === undefined || !isVersions) continue;
  const { Filesystem: path } = oracle(body.payload) as { Filesystem: DatasetPath | null };
  const isSecond = step.name.startsWith('44b77a8/');
  answers.set(`${isSecond ? '44b77a8' : '35dcfc2'} ${formatDatasetPath(path ?? [])}`, answer.payload);
}

const datasets: DatasetPath[] = [['tank'], ['tank', 'home'], ['tank', 'home', 'alice & <bob>']];
/** What Go writes for a byte that is no UTF-8; in our strings that is a lone surrogate. */
const notUTF8 = /bad utf8 \ufffd\ufffd\(/;

function versionsAt(reference: string, filesystem: DatasetPath): FilesystemVersion[] {
  const name = formatDatasetPath(filesystem);
  if (name === 'year10000') {
    return [{ type: 'snapshot', name: 'far', guid: 1n, createTXG: 1n, creation: '10000-01-01T00:00:00Z' }];
  }
  const answer = answers.get(`${reference} ${name}`);
  if (answer === undefined) throw new SnapferryError('DATASET_NOT_FOUND', `no such filesystem: ${name} <&>`);
  return versionsOf(answer).map((version) => ({
    ...version,
    name: version.name.replace(notUTF8, 'bad utf8 \ud800\ud800('),
  }));
}

async function* sourceOf(name: string, seed: string): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  const [, behaviour = '', digits = ''] = /^([a-z]+)-(\d+)$/.exec(name) ?? [];
  const count = Number(digits);
  const bytes = behaviour === 'zeros' ? Buffer.alloc(count) : seededBytes(seed, count);
  if (behaviour === 'dribble') {
    for (let at = 0, size = 1; at < count; at += size++) yield bytes.subarray(at, at + size);
  } else if (behaviour === 'zeroread') {
    yield bytes.subarray(0, count / 2);
    yield bytes.subarray(0, 0);
    yield bytes.subarray(count / 2);
  } else if (behaviour !== 'failwith') {
    yield bytes;
  }
  if (behaviour.startsWith('fail')) throw new Error('the recorded source fails here');
}

function transferOf(filesystem: DatasetPath, from: FilesystemVersion | null, to: FilesystemVersion): Transfer {
  const name = formatDatasetPath(filesystem);
  if (name === 'nope') throw new SnapferryError('DATASET_NOT_FOUND', `no such filesystem: ${name} <&>`);
  if (to.name.startsWith('panic')) throw new TypeError('the recorded handler panics here');
  const seed = `${name}@${from === null ? '' : `${from.name}..`}${to.name}`;
  return { format: 'zfs', estimatedBytes: null, resumed: false, bytes: sourceOf(to.name, seed) };
}

/** A handler that answers as the one did with which the recordings were made. */
export function recordedHandler(step: RecordedStep): RPCHandler {
  const reference = step.name.startsWith('44b77a8/') ? '44b77a8' : '35dcfc2';
  return {
    async filesystems({ roots }) {
      await Promise.resolve();
      if (roots === null) return datasets;
      if (roots[0] === 'nope') throw new SnapferryError('DATASET_NOT_FOUND', 'no such root: <nope> & "co"');
      return roots[0] === 'odd' ? [[], []] : [];
    },
    async filesystemVersions({ filesystem }) {
      await Promise.resolve();
      return versionsAt(reference, filesystem);
    },
    async initialTransfer({ filesystem, version }) {
      await Promise.resolve();
      return transferOf(filesystem, null, version);
    },
    async incrementalTransfer({ filesystem, from, to }) {
      await Promise.resolve();
      return transferOf(filesystem, from, to);
    },
  };
}

/** Collects the bytes of a transfer, copied: they are lent. */
export async function bytesOf(transfer: Pick<Transfer, 'bytes'>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const piece of transfer.bytes) parts.push(Buffer.from(piece.slice()));
  return Buffer.concat(parts);
}

/** Makes one recorded request through our client; the result of a transfer is its bytes. */
export async function askRecorded(client: RPCRequester, header: RecordedMessage, body: RecordedMessage) {
  const { Type: type } = oracle(header.payload) as { Type: number };
  const fields = oracle(body.payload) as {
    Roots: string[] | null;
    Filesystem: DatasetPath;
    FilesystemVersion: WireVersion;
    From: WireVersion;
    To: WireVersion;
    Goodbye: string;
  };
  const filesystem = fields.Filesystem;
  switch (type) {
    case 0x10:
      return client.filesystems({ roots: fields.Roots });
    case 0x11:
      return client.filesystemVersions({ filesystem });
    case 0x12:
      return bytesOf(await client.initialTransfer({ filesystem, version: versionOf(fields.FilesystemVersion) }));
    case 0x13: {
      const [from, to] = [versionOf(fields.From), versionOf(fields.To)];
      return bytesOf(await client.incrementalTransfer({ filesystem, from, to }));
    }
    case 0xf0:
      return client.close(fields.Goodbye);
    default:
      throw new Error(`request type ${type} has no call`);
  }
}
