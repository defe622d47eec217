import { createHash, hash } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SnapferryError } from '../../errors.ts';
import type { ResumeState } from '../../sink.ts';
import { encodeHeader } from './delta-stream.ts';
import type { Entry } from './entry.ts';
import { checkDelta, ListReader } from './receive-delta.ts';
import type { CheckedDelta, ReceivedList, ReceiveLimits } from './receive-delta.ts';
import { awaitExtractorGone, extractorRecord } from './receive-orphan.ts';
import { inTurns, lstatOrNull, pathBelow } from './receive-tree.ts';
import { encodeResumeToken } from './resume-token.ts';
import { isErrno } from './store-files.ts';
import type { Store } from './store.ts';
import { removeTree } from './tree.ts';

const smallFileBytesMax = 1024 * 1024;

/** Where a partial receive keeps the tree it builds. */
export function partialTree(receiveDirectory: string): string {
  return join(receiveDirectory, 'tree');
}

/** Where a partial receive keeps the list of changes it got. */
export function partialList(receiveDirectory: string): string {
  return join(receiveDirectory, 'list.jsonl');
}

/** An interrupted receive that can go on. */
export interface PartialReceive {
  readonly list: ReceivedList;
  readonly checked: CheckedDelta;
}

/**
 * What an interrupted receive left, if it can go on: its list is sound, its base is still here, and what it leads to
 * is not yet.
 */
export async function findPartial(store: Store, limits: ReceiveLimits): Promise<PartialReceive | null> {
  if (lstatOrNull(Buffer.from(partialTree(store.receiveDirectory))) === null) return null;
  try {
    const list = await loadList(partialList(store.receiveDirectory), limits);
    const snapshots = (await store.versions()).filter(({ type }) => type === 'snapshot');
    const { from, to } = list.header;
    const baseVersion = snapshots.find(({ guid }) => guid === from);
    if (snapshots.some(({ guid }) => guid === to.guid) || (from !== null && baseVersion === undefined)) return null;
    const base = baseVersion === undefined ? [] : await store.entries(baseVersion.name);
    return { list, checked: await checkDelta(base, list) };
  } catch (error) {
    // Damaged, say by a power cut: then it starts anew, which is always right.
    if (error instanceof SnapferryError || isErrno(error, 'ENOENT')) return null;
    throw error;
  }
}

async function loadList(path: string, limits: ReceiveLimits): Promise<ReceivedList> {
  const list = new ListReader(limits);
  for await (const piece of createReadStream(path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
    list.take(piece);
  }
  return list.finish();
}

/** The files of a delta in the order in which their contents travel. */
export function filesOf({ delta }: CheckedDelta): Entry[] {
  return delta.put.filter(({ type }) => type === 'file');
}

/**
 * How many files of a partial receive, from the first on, are whole: there, of the right size and digest. The last one
 * that is there never counts, for tar may have died before it gave the file its owner and mode.
 */
export async function countWhole(tree: string, files: readonly Entry[]): Promise<number> {
  let last = -1;
  let firstUnfit = files.length;
  let index = 0;
  await inTurns(files, (file) => {
    const stats = lstatOrNull(pathBelow(tree, file.path));
    if (stats !== null) last = index;
    const isFit = stats !== null && stats.isFile() && stats.size === BigInt(file.size);
    if (!isFit) firstUnfit = Math.min(firstUnfit, index);
    index++;
  });
  const candidates = files.slice(0, Math.max(0, Math.min(firstUnfit, last)));
  for (const [position, file] of candidates.entries()) {
    if ((await fileSha256(pathBelow(tree, file.path), file.size)) !== file.sha256) return position;
  }
  return candidates.length;
}

async function fileSha256(path: Buffer, size: number): Promise<string> {
  if (size <= smallFileBytesMax) return hash('sha256', readFileSync(path), 'hex');
  const content = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    content.update(piece);
  }
  return content.digest('hex');
}

/** What was verified of a partial receive, so that it need not be hashed twice by one process. */
interface Verified {
  readonly identity: string;
  readonly next: number;
}

/** The partial receives of one sink, one per store. Remembers what it has verified, for as long as it is the same. */
export class PartialShelf {
  readonly #limits: ReceiveLimits;
  readonly #verified = new Map<string, Verified>();

  constructor(limits: ReceiveLimits) {
    this.#limits = limits;
  }

  /** What can be resumed in a store; null when nothing. What is there but cannot be resumed is removed if possible. */
  async resumeState(store: Store): Promise<ResumeState | null> {
    const partial = await findPartial(store, this.#limits);
    if (partial === null) {
      if (lstatOrNull(Buffer.from(store.receiveDirectory)) !== null) await discardUnlessBusy(store);
      return null;
    }
    const { header, end } = partial.list;
    const step = { to: header.to.guid, from: header.from, delta: end.sha256 };
    const token = encodeResumeToken({ ...step, next: await this.whole(store, partial) });
    return { token, fromGuid: header.from, toGuid: header.to.guid };
  }

  /** As {@link countWhole}, but only once for the same partial receive. */
  async whole(store: Store, partial: PartialReceive): Promise<number> {
    const identity = identityOf(store, partial.list);
    const known = this.#verified.get(store.root);
    if (known?.identity === identity) return known.next;
    const next = await countWhole(partialTree(store.receiveDirectory), filesOf(partial.checked));
    this.#verified.set(store.root, { identity, next });
    return next;
  }

  /** Forgets what was verified, for the partial receive is about to change. */
  forget(store: Store): void {
    this.#verified.delete(store.root);
  }
}

/** Changes whenever anybody, also another process, has worked on the partial receive. */
function identityOf(store: Store, { header, end }: ReceivedList): string {
  const stats = lstatOrNull(Buffer.from(extractorRecord(store.receiveDirectory)));
  return `${encodeHeader(header)} ${end.sha256} ${stats?.ino} ${stats?.ctimeNs}`;
}

/** Removes a partial receive. To be called with the lock held. @throws SnapferryError `BUSY` */
export async function removePartial(store: Store): Promise<void> {
  await awaitExtractorGone(store.receiveDirectory);
  await removeTree(store.receiveDirectory);
}

async function discardUnlessBusy(store: Store): Promise<void> {
  try {
    await store.withLock(() => removePartial(store));
  } catch (error) {
    if (!(error instanceof SnapferryError)) throw error;
  }
}
