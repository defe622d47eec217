import { formatVersion } from '../../dataset.ts';
import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import type { Transfer } from '../../rpc/interfaces.ts';
import type { TransferBytes } from '../../sink.ts';
import { blockBytes, paddingAfter } from './archive-format.ts';
import { ArchiveReader } from './archive-reader.ts';
import { tarBytes } from './archive-tar.ts';
import { ArchiveWriter, writeEntry } from './archive-writer.ts';
import { encodeDelta, encodeEnd, encodeHeader, plannedMembers, streamMemberPath } from './delta-stream.ts';
import type { PlannedMember, StreamHeader } from './delta-stream.ts';
import { diffEntries, printablePath } from './manifest.ts';
import type { SnapshotHeader } from './manifest.ts';
import { decodeResumeToken, isSameStep } from './resume-token.ts';
import type { ResumeToken } from './resume-token.ts';
import type { Store } from './store.ts';

/** What `StreamFormat` says of our streams. */
export const directoryStreamFormat = 'directory';

/** Header, pax header and its records: what GNU tar writes for a member besides its content. */
const memberOverheadBytes = 3 * blockBytes;
/** Above this, tar writes in large records, whose padding is then no matter. */
const largeStreamBytesMin = 16 * 1024 * 1024;

/** Which transfer is wanted of a store. Versions are found by guid. */
export interface SendRequest {
  /** A snapshot or bookmark; null for a full stream. */
  readonly from: FilesystemVersion | null;
  /** A snapshot. */
  readonly to: FilesystemVersion;
  /** Used if it belongs to this very step, ignored if it belongs to another. */
  readonly resumeToken?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A transfer worked out but not begun. */
interface PreparedSend {
  readonly header: StreamHeader;
  /** The lines of the delta; empty when the receiver has them. */
  readonly lines: readonly Buffer[];
  readonly endLine: Buffer;
  readonly members: readonly PlannedMember[];
  readonly estimatedBytes: number;
}

/**
 * Offers the stream from one version of a store to another. It takes no lock: a snapshot never changes.
 * @throws SnapferryError `VERSION_NOT_FOUND` with what exists, `RESUME_TOKEN_INVALID`, `SOURCE_FAILED`; `bytes` throws
 * `SOURCE_FAILED` with tar's own words, and `CANCELLED`
 */
export async function sendTransfer(store: Store, request: SendRequest): Promise<Transfer> {
  const prepared = await prepareSend(store, request);
  const tree = store.snapshotDirectory((await findSnapshot(store, request.to)).name);
  return {
    format: directoryStreamFormat,
    estimatedBytes: prepared.estimatedBytes,
    resumed: prepared.header.resumed,
    bytes: streamBytes(prepared, tree, request.signal),
  };
}

/** Payload bytes that {@link sendTransfer} would send, sparse files counted in full. @throws as it does */
export async function estimateTransfer(store: Store, request: SendRequest): Promise<number> {
  return (await prepareSend(store, request)).estimatedBytes;
}

async function findSnapshot(store: Store, version: FilesystemVersion): Promise<FilesystemVersion> {
  if (version.type !== 'snapshot') {
    const text = `${formatVersion(version)} of ${store.directory} is a ${version.type}; only snapshots can be sent`;
    throw new SnapferryError('VERSION_NOT_FOUND', text);
  }
  const found = await store.findByGuid(version.guid);
  if (found?.type === 'snapshot') return found;
  // Throws, naming what there is, unless it is only a bookmark.
  await store.headerOf(version);
  throw new SnapferryError(
    'VERSION_NOT_FOUND',
    `${store.directory} has ${formatVersion(version)} only as a bookmark: its files are gone and cannot be sent`,
  );
}

async function prepareSend(store: Store, request: SendRequest): Promise<PreparedSend> {
  const token = request.resumeToken === undefined ? null : decodeResumeToken(request.resumeToken);
  const snapshot = await findSnapshot(store, request.to);
  const to = await store.entries(snapshot.name);
  const from = request.from === null ? null : await store.entriesOf(request.from);
  const delta = diffEntries(from, to);
  const { buffers, end } = encodeDelta(delta);
  const files = delta.put.reduce((count, { type }) => count + (type === 'file' ? 1 : 0), 0);
  const isResumed =
    token !== null &&
    token.next <= files &&
    isSameStep(token, { to: snapshot.guid, from: request.from?.guid ?? null, delta: end.sha256 });
  const header = streamHeader(request, snapshot, await store.header(snapshot.name), isResumed ? token : null);
  const plan = plannedMembers({ delta, base: from ?? [], to, skipped: header.skipped });
  const members = plan.filter(({ isInStream }) => isInStream);
  const lines = isResumed ? [] : buffers;
  const listBytes = lines.reduce((sum, { length }) => sum + length, 0);
  return {
    header,
    lines,
    endLine: Buffer.from(`${encodeEnd(end)}\n`),
    members,
    estimatedBytes: members.reduce((sum, member) => sum + memberBytes(member), listBytes + 4 * blockBytes),
  };
}

function memberBytes({ entry, contentAt }: PlannedMember): number {
  const size = contentAt === null ? entry.size : 0;
  return memberOverheadBytes + size + paddingAfter(size);
}

function streamHeader(
  request: SendRequest,
  to: FilesystemVersion,
  snapshot: SnapshotHeader,
  token: ResumeToken | null,
): StreamHeader {
  return {
    from: request.from?.guid ?? null,
    to: { guid: to.guid, name: to.name, creation: to.creation },
    manifestSha256: snapshot.manifestSha256,
    entries: snapshot.entries,
    resumed: token !== null,
    skipped: token?.next ?? 0,
    missing: snapshot.missing,
  };
}

async function* streamBytes(prepared: PreparedSend, tree: string, signal: AbortSignal | undefined): TransferBytes {
  yield* listMember(prepared);
  const tar = tarBytes({
    tree,
    paths: prepared.members.map(({ entry }) => entry.path),
    large: prepared.estimatedBytes > largeStreamBytesMin,
    signal,
  });
  const isAllSent = prepared.members.every(({ contentAt }) => contentAt === null);
  yield* isAllSent ? tar : withoutKnownContents(prepared.members, tar);
}

/** What tar writes, but for the contents that the receiver has. */
async function* withoutKnownContents(
  members: readonly PlannedMember[],
  tar: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const reader = new ArchiveReader(tar);
  const { writer, written } = bufferedWriter();
  try {
    for (const { entry, contentAt } of members) {
      const member = await reader.next();
      if (member === null) throw new SnapferryError('SOURCE_FAILED', `tar left out ${printablePath(entry.path)}`);
      const { type, target, size } = member;
      if (contentAt === null)
        await writeEntry(writer, { ...entry, type, target, size }, entry.mode, member, member.segments);
      else await writeEntry(writer, { ...entry, size: 0 }, entry.mode, member, null);
      for (let piece = await reader.data(); piece !== null; piece = await reader.data()) {
        if (contentAt === null) await writer.data(piece);
        yield* written.splice(0);
      }
      await writer.endData();
    }
    // Only now is it known that tar succeeded.
    await reader.next();
    await writer.finish();
    yield* written;
  } finally {
    await reader.close();
  }
}

/** A writer whose output waits in `written` until somebody takes it. */
function bufferedWriter(): { writer: ArchiveWriter; written: Uint8Array[] } {
  const written: Uint8Array[] = [];
  const writer = new ArchiveWriter((bytes) => {
    written.push(Uint8Array.from(bytes));
    return Promise.resolve();
  });
  return { writer, written };
}

async function* listMember({ header, lines, endLine }: PreparedSend): AsyncGenerator<Uint8Array> {
  const parts = [Buffer.from(`${encodeHeader(header)}\n`), ...lines, endLine];
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const { writer, written } = bufferedWriter();
  await writer.member({
    path: streamMemberPath,
    type: 'file',
    mode: 0o600,
    uid: 0,
    gid: 0,
    mtimeNs: 0n,
    size,
    target: null,
    segments: null,
    attributes: [],
  });
  await writer.flush();
  yield* written;
  yield* parts;
  yield Buffer.alloc(paddingAfter(size));
}
