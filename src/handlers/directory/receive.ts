import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SnapferryError } from '../../errors.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import type { ReceiveRequest, ReceiveResult, TransferBytes } from '../../sink.ts';
import { violation } from './archive-format.ts';
import { ArchiveReader } from './archive-reader.ts';
import { tarBytes } from './archive-tar.ts';
import { plannedMembers } from './delta-stream.ts';
import type { PlannedMember, StreamHeader } from './delta-stream.ts';
import type { Entry } from './entry.ts';
import type { NotApplied, SnapshotHeader } from './manifest.ts';
import { checkDelta, checkStep, readList } from './receive-delta.ts';
import type { CheckedDelta, ReceiveLimits } from './receive-delta.ts';
import { modesInTree, TreeExtractor } from './receive-extract.ts';
import { passMembers } from './receive-members.ts';
import { awaitExtractorGone, extractorRecord, recordExtractor } from './receive-orphan.ts';
import { inspectTree, inTurns, pathBelow, pruneTree, unlinkIfThere } from './receive-tree.ts';
import type { Inspection } from './receive-tree.ts';
import { filesOf, findPartial, partialList, partialTree, removePartial } from './resume.ts';
import type { PartialShelf } from './resume.ts';
import { directoryStreamFormat } from './send.ts';
import type { Store } from './store.ts';
import { copyTreeLinked, removeTree } from './tree.ts';

/** What a receive needs beside the transfer. */
export interface ReceiveContext {
  readonly store: Store;
  readonly partials: PartialShelf;
  readonly limits: ReceiveLimits;
  readonly signal?: AbortSignal | undefined;
  readonly logger?: Logger | undefined;
}

/** A tree ready to be filled. */
interface Prepared {
  readonly header: StreamHeader;
  readonly checked: CheckedDelta;
}

/**
 * Receives one transfer into a store as its only writer, and commits it. The stream is not believed in anything:
 * docs/DIRECTORY.md says what is checked when. After a failure in the middle of the contents the store holds a partial
 * receive; after any other it is as it was.
 * @throws SnapferryError `BUSY`, `INVALID_REQUEST`, `VERSION_NOT_FOUND`, `STREAM_FORMAT_MISMATCH`, `CANCELLED`,
 * `PROTOCOL_VIOLATION`, `DIGEST_MISMATCH`, `LIMIT_EXCEEDED`, `STREAM_TRUNCATED`, `INTERNAL` with tar's own words, or
 * whatever the bytes throw
 */
export async function receiveTransfer(
  context: ReceiveContext,
  request: ReceiveRequest,
  bytes: TransferBytes,
): Promise<ReceiveResult> {
  const reader = new ArchiveReader(bytes, context.signal);
  try {
    if (request.format !== null && request.format !== directoryStreamFormat) {
      throw new SnapferryError(
        'STREAM_FORMAT_MISMATCH',
        `${context.store.directory} takes directory streams, and the sender sends ${JSON.stringify(request.format)}`,
      );
    }
    return await context.store.withLock(() => receiveLocked(context, request, reader), context.signal);
  } finally {
    await reader.close();
  }
}

async function receiveLocked(
  context: ReceiveContext,
  request: ReceiveRequest,
  reader: ArchiveReader,
): Promise<ReceiveResult> {
  const { store, partials } = context;
  await requireNew(store, request);
  const baseHeader = request.from === null ? null : await baseOf(store, request.from.guid);
  const prepared = request.resumed
    ? await prepareResumed(context, request, reader)
    : await prepareFresh(context, request, reader, baseHeader?.name ?? null);
  partials.forget(store);
  const inspection = await extract(context, prepared, reader, baseHeader?.name ?? null);
  const header = await snapshotHeader(store, request, prepared, inspection, baseHeader?.header.notApplied ?? []);
  await store.commit(partialTree(store.receiveDirectory), request.to.name, header, prepared.checked.to);
  await removeTree(store.receiveDirectory);
  context.logger?.info(
    { directory: store.directory, snapshot: request.to.name, entries: header.entries },
    'snapshot received',
  );
  return { notices: inspection.notices, missing: header.missing };
}

async function requireNew(store: Store, { to }: ReceiveRequest): Promise<void> {
  const snapshots = (await store.versions()).filter(({ type }) => type === 'snapshot');
  const same = snapshots.find(({ guid }) => guid === to.guid);
  if (same !== undefined) {
    throw new SnapferryError('INVALID_REQUEST', `${store.directory} has that snapshot already, as @${same.name}`);
  }
  if (snapshots.some(({ name }) => name === to.name)) {
    throw new SnapferryError(
      'INVALID_REQUEST',
      `${store.directory} has another snapshot named @${to.name}; rename one of the two`,
    );
  }
}

async function baseOf(store: Store, guid: bigint): Promise<{ name: string; header: SnapshotHeader }> {
  const base = await store.findByGuid(guid);
  if (base?.type === 'snapshot') return { name: base.name, header: await store.header(base.name) };
  throw new SnapferryError(
    'VERSION_NOT_FOUND',
    `${store.directory} does not have the snapshot with guid ${guid} that the transfer starts from`,
  );
}

/** Everything up to the first content happens beside the place of partial receives, and gets there by one rename. */
async function prepareFresh(
  context: ReceiveContext,
  request: ReceiveRequest,
  reader: ArchiveReader,
  baseName: string | null,
): Promise<Prepared> {
  const { store, signal } = context;
  const building = join(store.stagingDirectory, `building-${randomBytes(6).toString('hex')}`);
  await mkdir(building, { mode: 0o700 });
  try {
    const file = await open(partialList(building), 'wx', 0o600);
    const list = await readList(reader, context.limits, async (bytes) => {
      await file.writeFile(bytes);
    }).finally(() => file.close());
    checkStep(list.header, { from: request.from?.guid ?? null, to: request.to.guid, resumed: false });
    const base = baseName === null ? [] : await store.entries(baseName);
    const checked = await checkDelta(base, list);
    if (baseName === null) await mkdir(partialTree(building), { mode: 0o700 });
    else await copyTreeLinked(store.snapshotDirectory(baseName), partialTree(building), signal);
    await pruneTree(partialTree(building), base, checked.delta);
    await removePartial(store);
    await rename(building, store.receiveDirectory);
    return { header: list.header, checked };
  } catch (error) {
    await removeTree(building);
    throw error;
  }
}

async function prepareResumed(
  context: ReceiveContext,
  request: ReceiveRequest,
  reader: ArchiveReader,
): Promise<Prepared> {
  const { store, partials } = context;
  await awaitExtractorGone(store.receiveDirectory);
  const partial = await findPartial(store, context.limits);
  if (partial === null) throw violation('it goes on with a transfer of which nothing is here');
  const { header: known, end } = partial.list;
  const { header, end: announced } = await readList(reader, context.limits, () => Promise.resolve());
  checkStep(header, { from: request.from?.guid ?? null, to: request.to.guid, resumed: true });
  const isSame =
    known.to.guid === header.to.guid &&
    known.from === header.from &&
    known.manifestSha256 === header.manifestSha256 &&
    end.sha256 === announced.sha256 &&
    end.lines === announced.lines;
  if (!isSame) throw violation('it goes on with another transfer than the one that was interrupted');
  const whole = await partials.whole(store, partial);
  if (header.skipped > whole) {
    throw violation(`it leaves out ${header.skipped} contents, of which only ${whole} are here`);
  }
  // From here on what was verified before says nothing.
  await rm(extractorRecord(store.receiveDirectory), { force: true });
  await clearUnfinished(partialTree(store.receiveDirectory), partial.checked, header.skipped);
  return { header, checked: partial.checked };
}

/** Removes what was put but is not kept, so that nothing half-made stands in tar's way. */
async function clearUnfinished(tree: string, checked: CheckedDelta, kept: number): Promise<void> {
  let file = 0;
  await inTurns(checked.delta.put, (entry) => {
    if (entry.type === 'directory' || (entry.type === 'file' && file++ < kept)) return;
    unlinkIfThere(pathBelow(tree, entry.path));
  });
}

async function extract(
  context: ReceiveContext,
  { header, checked }: Prepared,
  reader: ArchiveReader,
  baseName: string | null,
): Promise<Inspection> {
  const { store, signal } = context;
  const tree = partialTree(store.receiveDirectory);
  const planned = plannedMembers({ ...checked, skipped: header.skipped });
  const known = knownContents(store, baseName, planned, signal);
  const extractor = new TreeExtractor(tree);
  let complaints: readonly string[];
  try {
    await recordExtractor(store.receiveDirectory, extractor.pid);
    await passMembers({
      reader,
      writer: extractor.writer,
      planned,
      known,
      place: (entry) => entry,
      modeOf: modesInTree(),
      signal,
    });
    complaints = await extractor.finish();
  } catch (error) {
    await extractor.windDown();
    throw error;
  } finally {
    await known?.close();
  }
  const skipped = filesOf(checked).slice(0, header.skipped);
  return inspectTree(tree, [...planned.map(({ entry }) => entry), ...skipped], complaints);
}

/** Reads the contents that the base has, from its tree. */
function knownContents(
  store: Store,
  baseName: string | null,
  planned: readonly PlannedMember[],
  signal: AbortSignal | undefined,
): ArchiveReader | undefined {
  const paths = planned.flatMap(({ contentAt }) => contentAt ?? []);
  if (baseName === null || paths.length === 0) return undefined;
  const tree = store.snapshotDirectory(baseName);
  return new ArchiveReader(tarBytes({ tree, paths, dereferenceHardLinks: true, large: true, signal }), signal);
}

async function snapshotHeader(
  store: Store,
  request: ReceiveRequest,
  { header, checked }: Prepared,
  inspection: Inspection,
  baseNotApplied: readonly NotApplied[],
): Promise<SnapshotHeader> {
  return {
    format: 1,
    guid: request.to.guid,
    createTXG: await store.nextCreateTXG(),
    creation: request.to.creation ?? header.to.creation ?? new Date().toISOString(),
    entries: checked.to.length,
    bytes: sumOfSizes(checked.to),
    manifestSha256: header.manifestSha256,
    missing: header.missing,
    notApplied: [...new Set([...baseNotApplied, ...inspection.notApplied])],
  };
}

function sumOfSizes(entries: readonly Entry[]): number {
  return entries.reduce((sum, { size }) => sum + size, 0);
}
