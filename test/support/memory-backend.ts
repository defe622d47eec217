import type { DatasetPath, FilesystemVersion } from '../../src/dataset.ts';
import { checkDatasetPath, checkVersionName, formatDatasetPath } from '../../src/dataset.ts';
import { SnapferryError } from '../../src/errors.ts';
import type { RequestContext, RPCHandler, Transfer } from '../../src/rpc/interfaces.ts';
import type { ReceiveRequest, ReplicationSink, ResumeState, TransferBytes } from '../../src/sink.ts';

/** A version in memory. A bookmark has no content. */
export interface StoredVersion {
  readonly version: FilesystemVersion;
  readonly content: Uint8Array | null;
}

interface Partial {
  readonly fromGuid: bigint | null;
  readonly toGuid: bigint;
  readonly content: Uint8Array;
}

/** One dataset in memory. */
export interface MemoryDataset {
  versions: StoredVersion[];
  partial: Partial | null;
  createTXG: bigint;
  /** One receive at a time. */
  isReceiving?: boolean;
}

/** Hooks for what can go wrong: throw to fail, wait to stall. All may be changed at any time. */
export interface MemoryFaults {
  /** At the beginning of every call of handler and sink. */
  call?: (name: string, filesystem: DatasetPath | null) => Promise<void> | void;
  /** Before the source gives the piece that begins at this offset of the content; also once at its end. */
  sourceBytes?: (offset: number, filesystem: DatasetPath) => Promise<void> | void;
  /** After the sink has got so much of the content. */
  sinkBytes?: (offset: number, filesystem: DatasetPath) => Promise<void> | void;
  /** When the sink has everything and has not committed. */
  beforeCommit?: (filesystem: DatasetPath) => Promise<void> | void;
  /** When the sink has committed and nobody knows yet. */
  afterCommit?: (filesystem: DatasetPath) => Promise<void> | void;
}

/** Both halves of a storage backend over the same datasets. */
export interface MemoryBackend {
  readonly datasets: Map<string, MemoryDataset>;
  readonly handler: RPCHandler;
  readonly sink: ReplicationSink;
  faults: MemoryFaults;
  /** Takes a snapshot with this content, creating the dataset if need be. */
  snapshot(filesystem: string, name: string, content: Uint8Array | string): FilesystemVersion;
  bookmark(filesystem: string, snapshot: string, name: string): FilesystemVersion;
  /** `@name` or `#name`. */
  destroy(filesystem: string, version: string): void;
  /** `@a #b`, oldest first. */
  list(filesystem: string): string;
  /** The content of a snapshot, by name. */
  content(filesystem: string, name: string): string;
}

/** The stream format of this backend. */
export const memoryFormat = 'memory';
const pieceBytes = 1000;

interface StreamHeader {
  readonly from: string | null;
  readonly to: string;
  readonly offset: number;
  readonly bytes: number;
}

/** @param nextGuid random guids by default; a counter makes them readable */
export function memoryBackend(nextGuid: () => bigint = randomGuid): MemoryBackend {
  const datasets = new Map<string, MemoryDataset>();
  const backend: MemoryBackend = {
    datasets,
    faults: {},
    handler: memoryHandler(datasets, () => backend.faults),
    sink: memorySink(datasets, () => backend.faults),
    snapshot(filesystem, name, content) {
      const dataset = ensure(datasets, filesystem);
      const version = { type: 'snapshot', name, guid: nextGuid(), createTXG: ++dataset.createTXG, creation: null };
      dataset.versions.push({ version, content: typeof content === 'string' ? Buffer.from(content) : content });
      return version;
    },
    bookmark(filesystem, snapshot, name) {
      const { version } = find(datasets, filesystem, (stored) => label(stored) === `@${snapshot}`);
      return addBookmark(ensure(datasets, filesystem), version, name);
    },
    destroy(filesystem, text) {
      const dataset = ensure(datasets, filesystem);
      const { version } = find(datasets, filesystem, (stored) => label(stored) === text);
      dataset.versions = dataset.versions.filter((stored) => stored.version !== version);
    },
    list: (filesystem) => (datasets.get(filesystem)?.versions ?? []).map(label).join(' '),
    content: (filesystem, name) =>
      Buffer.from(find(datasets, filesystem, (stored) => label(stored) === `@${name}`).content ?? []).toString(),
  };
  return backend;
}

function memoryHandler(datasets: Map<string, MemoryDataset>, faults: () => MemoryFaults): RPCHandler {
  const transfer = async (
    filesystem: DatasetPath,
    from: FilesystemVersion | null,
    to: FilesystemVersion,
    { resumeToken, jobId }: { resumeToken?: string | undefined; jobId?: string | undefined },
    context: RequestContext,
  ): Promise<Transfer> => {
    await faults().call?.(from === null ? 'initialTransfer' : 'incrementalTransfer', filesystem);
    const name = formatDatasetPath(filesystem);
    if (from !== null) find(datasets, name, ({ version }) => version.guid === from.guid);
    const { content, version } = find(datasets, name, (stored) => isOf(stored, to.guid));
    // Kept from before the first byte on: the sink may commit without our hearing of it, and then this is the base.
    if (jobId !== undefined) addBookmark(ensure(datasets, name), version, `step_${jobId}_${to.guid}`);
    const offset = resumeToken === undefined ? 0 : resumeOffset(resumeToken, from, to);
    return {
      format: memoryFormat,
      estimatedBytes: null,
      resumed: offset > 0,
      bytes: sendBytes(content ?? new Uint8Array(), { from, to, offset, filesystem }, faults, context.signal),
    };
  };
  return {
    async filesystems({ roots }) {
      await faults().call?.('filesystems', null);
      const isWanted = (name: string): boolean =>
        roots === null || roots.some((root) => name === root || name.startsWith(`${root}/`));
      return [...datasets.keys()].filter(isWanted).map((name) => name.split('/'));
    },
    async filesystemVersions({ filesystem }) {
      await faults().call?.('filesystemVersions', filesystem);
      const dataset = datasets.get(formatDatasetPath(filesystem));
      if (dataset === undefined) throw notFound(formatDatasetPath(filesystem));
      return dataset.versions.map(({ version }) => version);
    },
    initialTransfer: (request, context) => transfer(request.filesystem, null, request.version, request, context),
    incrementalTransfer: (request, context) => transfer(request.filesystem, request.from, request.to, request, context),
    async transferEstimate({ filesystem, from, to, resumeToken }) {
      await faults().call?.('transferEstimate', filesystem);
      const { content } = find(datasets, formatDatasetPath(filesystem), (stored) => isOf(stored, to.guid));
      const offset = resumeToken === undefined ? 0 : resumeOffset(resumeToken, from, to);
      const bytes = content?.byteLength ?? 0;
      return streamHeader({ from, to, offset, bytes }).byteLength + bytes - offset;
    },
    async transferCompleted({ filesystem, version, jobId }) {
      await faults().call?.('transferCompleted', filesystem);
      const completed = find(datasets, formatDatasetPath(filesystem), (stored) => stored.version.guid === version.guid);
      const { createTXG } = completed.version;
      const dataset = ensure(datasets, formatDatasetPath(filesystem));
      const cursor = dataset.versions.find((stored) => label(stored) === `#cursor_${jobId}`);
      if (cursor !== undefined && cursor.version.createTXG > createTXG) return;
      addBookmark(dataset, completed.version, `cursor_${jobId}`);
      dataset.versions = dataset.versions.filter(
        (stored) => !stored.version.name.startsWith(`step_${jobId}_`) || stored.version.createTXG > createTXG,
      );
    },
  };
}

async function* sendBytes(
  content: Uint8Array,
  {
    from,
    to,
    offset,
    filesystem,
  }: { from: FilesystemVersion | null; to: FilesystemVersion; offset: number; filesystem: DatasetPath },
  faults: () => MemoryFaults,
  signal: AbortSignal,
): TransferBytes {
  yield streamHeader({ from, to, offset, bytes: content.byteLength });
  for (let begin = offset; begin < content.byteLength; begin += pieceBytes) {
    await faults().sourceBytes?.(begin, filesystem);
    if (signal.aborted) throw new SnapferryError('CANCELLED', 'sending was cancelled');
    yield content.subarray(begin, begin + pieceBytes);
  }
  await faults().sourceBytes?.(content.byteLength, filesystem);
}

function memorySink(datasets: Map<string, MemoryDataset>, faults: () => MemoryFaults): ReplicationSink {
  return {
    async filesystemVersions(filesystem) {
      checkDatasetPath(filesystem);
      await faults().call?.('sink.filesystemVersions', filesystem);
      return datasets.get(formatDatasetPath(filesystem))?.versions.map(({ version }) => version) ?? null;
    },
    async resumeState(filesystem): Promise<ResumeState | null> {
      checkDatasetPath(filesystem);
      await faults().call?.('sink.resumeState', filesystem);
      const partial = datasets.get(formatDatasetPath(filesystem))?.partial ?? null;
      if (partial === null) return null;
      const { fromGuid, toGuid, content } = partial;
      return { fromGuid, toGuid, token: `${toGuid}:${fromGuid ?? ''}:${content.byteLength}` };
    },
    async discardPartial(filesystem) {
      checkDatasetPath(filesystem);
      await faults().call?.('sink.discardPartial', filesystem);
      const dataset = datasets.get(formatDatasetPath(filesystem));
      if (dataset !== undefined) dataset.partial = null;
    },
    async createParents(filesystem) {
      checkDatasetPath(filesystem);
      await faults().call?.('sink.createParents', filesystem);
      for (let depth = 1; depth < filesystem.length; depth += 1) {
        ensure(datasets, formatDatasetPath(filesystem.slice(0, depth)));
      }
    },
    async receive(request, bytes, signal) {
      const iterator = bytes[Symbol.asyncIterator]();
      try {
        await faults().call?.('sink.receive', request.filesystem);
        await receiveAlone(datasets, request, { [Symbol.asyncIterator]: () => iterator }, faults, signal);
      } catch (error) {
        // Whoever sends must learn that nobody will read.
        await iterator.return?.();
        throw error;
      }
      return { notices: [], missing: [] };
    },
  };
}

async function receiveAlone(
  datasets: Map<string, MemoryDataset>,
  request: ReceiveRequest,
  bytes: TransferBytes,
  faults: () => MemoryFaults,
  signal: AbortSignal | undefined,
): Promise<void> {
  const dataset = placeFor(datasets, request);
  if (dataset.isReceiving === true) {
    throw new SnapferryError('BUSY', `${formatDatasetPath(request.filesystem)} is being received into`);
  }
  dataset.isReceiving = true;
  try {
    await receive(dataset, request, bytes, faults, signal);
  } finally {
    dataset.isReceiving = false;
  }
}

async function receive(
  dataset: MemoryDataset,
  request: ReceiveRequest,
  bytes: TransferBytes,
  faults: () => MemoryFaults,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { filesystem, from, to, format, resumed } = request;
  if (format !== null && format !== memoryFormat) {
    throw new SnapferryError('STREAM_FORMAT_MISMATCH', `cannot receive a stream of format ${format}`);
  }
  let received = Buffer.from(resumed ? (dataset.partial?.content ?? []) : []);
  let header: StreamHeader | null = null;
  let text = Buffer.alloc(0);
  try {
    for await (const piece of bytes) {
      throwIfCancelled(signal);
      let rest = Buffer.from(piece.subarray());
      if (header === null) {
        text = Buffer.concat([text, rest]);
        const end = text.indexOf('\n');
        if (end < 0) continue;
        header = checkHeader(text.subarray(0, end).toString(), request, received.byteLength);
        rest = text.subarray(end + 1);
      }
      received = Buffer.concat([received, rest]);
      await faults().sinkBytes?.(received.byteLength, filesystem);
    }
  } catch (error) {
    if (received.byteLength > 0) {
      dataset.partial = { fromGuid: from?.guid ?? null, toGuid: to.guid, content: received };
    }
    throw error;
  }
  if (header === null || received.byteLength !== header.bytes) {
    throw new SnapferryError('PROTOCOL_VIOLATION', `the stream of ${to.name} has ${received.byteLength} bytes`);
  }
  await faults().beforeCommit?.(filesystem);
  dataset.partial = null;
  dataset.versions.push({ version: { ...to, createTXG: ++dataset.createTXG }, content: received });
  await faults().afterCommit?.(filesystem);
}

/** As strict as ZFS: a receive builds on the newest snapshot, needs its parents, and no other rest in the way. */
function placeFor(datasets: Map<string, MemoryDataset>, { filesystem, from, to }: ReceiveRequest): MemoryDataset {
  checkDatasetPath(filesystem);
  checkVersionName(to.name);
  const name = formatDatasetPath(filesystem);
  for (let depth = 1; depth < filesystem.length; depth += 1) {
    if (!datasets.has(formatDatasetPath(filesystem.slice(0, depth)))) {
      throw new SnapferryError('DATASET_NOT_FOUND', `${name} cannot be created before its parents`);
    }
  }
  const dataset = from === null ? ensure(datasets, name) : datasets.get(name);
  const newest = dataset?.versions.findLast(({ content }) => content !== null)?.version.guid ?? null;
  if (dataset === undefined || newest !== (from?.guid ?? null)) {
    throw new SnapferryError('INVALID_REQUEST', `${to.name} does not build on the newest snapshot of ${name}`);
  }
  const { partial } = dataset;
  if (partial !== null && (partial.toGuid !== to.guid || partial.fromGuid !== (from?.guid ?? null))) {
    throw new SnapferryError('INVALID_REQUEST', `${name} holds the rest of another transfer, which is in the way`);
  }
  return dataset;
}

function checkHeader(text: string, { from, to }: ReceiveRequest, offset: number): StreamHeader {
  const header = parseHeader(text);
  const isExpected =
    header.to === to.guid.toString() &&
    header.from === (from === null ? null : from.guid.toString()) &&
    header.offset === offset;
  if (!isExpected) throw new SnapferryError('PROTOCOL_VIOLATION', `the stream is of another step: ${text}`);
  return header;
}

function parseHeader(text: string): StreamHeader {
  try {
    return JSON.parse(text) as StreamHeader;
  } catch {
    throw new SnapferryError('PROTOCOL_VIOLATION', `not a header of a memory stream: ${text.slice(0, 100)}`);
  }
}

function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new SnapferryError('CANCELLED', 'receiving was cancelled', { cause: signal.reason });
}

function streamHeader(step: { from: FilesystemVersion | null; to: FilesystemVersion; offset: number; bytes: number }) {
  const { from, to, offset, bytes } = step;
  const header: StreamHeader = {
    from: from === null ? null : from.guid.toString(),
    to: to.guid.toString(),
    offset,
    bytes,
  };
  return Buffer.from(`${JSON.stringify(header)}\n`);
}

/** 0 when the token is of another step: then everything is sent. */
function resumeOffset(token: string, from: FilesystemVersion | null, to: FilesystemVersion): number {
  const [toGuid, fromGuid, offset] = token.split(':');
  return toGuid === to.guid.toString() && fromGuid === (from?.guid.toString() ?? '') ? Number(offset) : 0;
}

function addBookmark(dataset: MemoryDataset, version: FilesystemVersion, name: string): FilesystemVersion {
  const bookmark = { ...version, type: 'bookmark', name };
  dataset.versions = dataset.versions.filter((stored) => label(stored) !== `#${name}`);
  dataset.versions.push({ version: bookmark, content: null });
  dataset.versions.sort((a, b) => Number(a.version.createTXG - b.version.createTXG));
  return bookmark;
}

function find(
  datasets: Map<string, MemoryDataset>,
  filesystem: string,
  isIt: (stored: StoredVersion) => boolean,
): StoredVersion {
  const dataset = datasets.get(filesystem);
  if (dataset === undefined) throw notFound(filesystem);
  const found = dataset.versions.find(isIt);
  if (found === undefined)
    throw new SnapferryError('VERSION_NOT_FOUND', `${filesystem} has no such version (any more)`);
  return found;
}

function ensure(datasets: Map<string, MemoryDataset>, filesystem: string): MemoryDataset {
  const present = datasets.get(filesystem);
  if (present !== undefined) return present;
  const created: MemoryDataset = { versions: [], partial: null, createTXG: 0n };
  datasets.set(filesystem, created);
  return created;
}

function isOf({ version, content }: StoredVersion, guid: bigint): boolean {
  return content !== null && version.guid === guid;
}

function label({ version }: StoredVersion): string {
  return (version.type === 'bookmark' ? '#' : '@') + version.name;
}

function notFound(filesystem: string): SnapferryError {
  return new SnapferryError('DATASET_NOT_FOUND', `there is no dataset ${filesystem}`);
}

function randomGuid(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0]! | 1n;
}
