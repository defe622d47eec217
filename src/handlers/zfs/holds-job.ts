import { formatVersion } from '../../dataset.ts';
import type { FilesystemVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import type { ZfsTool } from './commands-tool.ts';
import { destroyBookmark, makeBookmark } from './cursor.ts';
import type { FoundBookmark } from './cursor.ts';
import { TraceMemory } from './holds-traces.ts';
import type { HeldSnapshot, Traces } from './holds-traces.ts';
import { holdSnapshots, releaseSnapshots } from './holds.ts';
import { holdTag, ownerText } from './names-ours.ts';
import type { JobOwner } from './names-ours.ts';
import { versionName } from './names.ts';
import type { VersionDetails } from './output.ts';
import type { PreparedSend } from './send.ts';
import { findVersions } from './versions.ts';

/**
 * What is done at the source so that the next transfer can be incremental, and an interrupted one go on.
 * - `resumability`: both ends of a transfer are held until it is known to have arrived, and marked.
 * - `incremental`: they are only marked, by bookmarks, which cost no space. A snapshot may go while it is being
 *   transferred in several runs; then that transfer begins at the beginning with another snapshot.
 * - `nothing`: the source is never changed. If the last common snapshot goes, everything must be sent again.
 */
export type ZfsProtection = 'resumability' | 'incremental' | 'nothing';

/** Jobs that one client may keep cursors for in one dataset; each costs a bookmark or two. */
const ownersPerIdentityMax = 64;

/** The transfer that begins. */
type BeginRequest = Pick<PreparedSend, 'dataset' | 'from' | 'to' | 'isRaw'> & {
  readonly owner: JobOwner;
  readonly signal?: AbortSignal | undefined;
};

/** Keeps holds and cursors at a source, per dataset, client and job. Holds nothing open. */
export class JobProtection {
  readonly #tool: ZfsTool;
  readonly #level: ZfsProtection;
  readonly #logger: Logger | undefined;
  readonly #memory: TraceMemory;

  constructor(tool: ZfsTool, level: ZfsProtection, logger: Logger | undefined) {
    this.#tool = tool;
    this.#level = level;
    this.#logger = logger;
    this.#memory = new TraceMemory(tool);
  }

  /**
   * Protects both ends of a transfer before it begins, and then takes back what an earlier transfer of the job, which has not
   * arrived, has left on others. The replication cursor stays where it is.
   * @throws SnapferryError `STREAM_FORMAT_MISMATCH` if the base was sent raw and this would not be, or the other way round;
   *   `INVALID_REQUEST`; `VERSION_NOT_FOUND` if an end has gone; as `ZfsTool.run` does
   */
  async begin(request: BeginRequest): Promise<void> {
    if (this.#level === 'nothing') return;
    const { dataset, from, to, isRaw, signal } = request;
    const owner = ownerText(request.owner);
    const tag = holdTag('STEP', request.owner);
    await this.#memory.use({ dataset, owner, signal }, async (traces) => {
      assertFewOwners(traces, owner);
      if (from !== null && to.isEncrypted) assertSameForm(traces, from, isRaw);
      const ends = from === null ? [to] : [from, to];
      if (this.#level === 'resumability') await this.#hold(traces, tag, ends, signal);
      for (const end of ends) await this.#mark(traces, end, { owner, isRaw }, signal);
      const isEnd = ({ guid }: { guid: bigint }): boolean => ends.some(({ version }) => version.guid === guid);
      await this.#release(
        traces,
        tag,
        traces.held.filter((held) => !isEnd(held)),
      );
      await this.#destroy(
        traces,
        traces.bookmarks.filter((mark) => mark.kind === 'TENTATIVE' && !isEnd(mark)),
      );
    });
  }

  /**
   * Moves the replication cursor to a version that has arrived: first the new one is made, then everything that it replaces is taken
   * back. A version older than the cursor changes nothing. Idempotent.
   * @param isRawNow how the version would be sent now, for one whose transfer left no mark
   * @throws SnapferryError `VERSION_NOT_FOUND` with what there is; as `ZfsTool.run` does
   */
  async complete(request: {
    readonly dataset: string;
    readonly version: FilesystemVersion;
    readonly owner: JobOwner;
    readonly isRawNow: (details: VersionDetails) => boolean;
    readonly signal?: AbortSignal | undefined;
  }): Promise<void> {
    const { dataset, version, signal } = request;
    const owner = ownerText(request.owner);
    const tag = holdTag('STEP', request.owner);
    const [found] = await findVersions(this.#tool, dataset, [version], signal);
    if (found === undefined) throw new RangeError('findVersions finds each or throws');
    if (this.#level === 'nothing') return;
    const { guid, createTXG } = found.version;
    const move = async (traces: Traces, isFresh: boolean): Promise<'moved' | 'unsure'> => {
      assertFewOwners(traces, owner);
      const cursors = traces.bookmarks.filter(({ kind }) => kind === 'CURSOR');
      const isThere = cursors.some((cursor) => cursor.guid === guid);
      // What was remembered may have been removed by hand.
      if (isThere && !isFresh) return 'unsure';
      const sent = traces.bookmarks.find((mark) => mark.kind === 'TENTATIVE' && mark.guid === guid);
      const isNewest = cursors.every((cursor) => cursor.createTXG < createTXG);
      if (isNewest || (isThere && sent !== undefined)) {
        const isRaw = sent?.isRaw ?? request.isRawNow(found);
        const former = cursors.filter((cursor) => cursor.guid === guid && cursor.isRaw !== isRaw);
        traces.bookmarks.push(await makeBookmark(this.#tool, found, { kind: 'CURSOR', isRaw, owner }, signal));
        // Sent again in another form, into a new target.
        await this.#destroy(traces, former);
        this.#logger?.debug({ dataset, to: formatVersion(found.version), owner }, 'replication cursor moved');
      }
      await this.#release(
        traces,
        tag,
        traces.held.filter((held) => held.createTXG <= createTXG),
      );
      await this.#destroy(
        traces,
        traces.bookmarks.filter((mark) => isReplacedBy(mark, guid, createTXG)),
      );
      return 'moved';
    };
    const outcome = await this.#memory.use({ dataset, owner, signal }, move);
    if (outcome === 'unsure') await this.#memory.use({ dataset, owner, signal, isFresh: true }, move);
  }

  async #hold(traces: Traces, tag: string, ends: readonly VersionDetails[], signal?: AbortSignal): Promise<void> {
    const missing = ends.filter(({ version, holds }) => {
      const isRemembered = traces.held.some(({ guid }) => guid === version.guid);
      return version.type === 'snapshot' && !(isRemembered && holds > 0);
    });
    if (missing.length === 0) return;
    const held = missing.map(({ dataset, version }) => ({ ...version, fullName: versionName(dataset, version) }));
    await holdSnapshots(
      this.#tool,
      tag,
      held.map(({ fullName }) => fullName),
      signal,
    );
    const isNew = ({ guid }: HeldSnapshot): boolean => held.some((other) => other.guid === guid);
    traces.held = [...traces.held.filter((other) => !isNew(other)), ...held];
  }

  async #mark(
    traces: Traces,
    end: VersionDetails,
    { owner, isRaw }: { owner: string; isRaw: boolean },
    signal?: AbortSignal,
  ): Promise<void> {
    const marks = traces.bookmarks.filter(({ guid }) => guid === end.version.guid);
    if (marks.some((mark) => mark.isRaw === isRaw)) return;
    // A base that is a bookmark already needs no other.
    if (end.version.type === 'bookmark') return;
    traces.bookmarks.push(await makeBookmark(this.#tool, end, { kind: 'TENTATIVE', isRaw, owner }, signal));
    // Begun in the other form before, and never arrived.
    await this.#destroy(
      traces,
      marks.filter(({ kind }) => kind === 'TENTATIVE'),
    );
  }

  async #release(traces: Traces, tag: string, held: readonly HeldSnapshot[]): Promise<void> {
    if (held.length === 0) return;
    await releaseSnapshots(
      this.#tool,
      tag,
      held.map(({ fullName }) => fullName),
    );
    traces.held = traces.held.filter((other) => !held.includes(other));
  }

  async #destroy(traces: Traces, marks: readonly FoundBookmark[]): Promise<void> {
    for (const mark of marks) {
      const isGone = await destroyBookmark(this.#tool, mark, { mayBeDenied: true });
      // The right to destroy a bookmark is the right to destroy the dataset's snapshots, which not everybody wants to give.
      if (isGone) traces.bookmarks = traces.bookmarks.filter((other) => other !== mark);
      else
        this.#logger?.warn(
          { dataset: mark.dataset, bookmark: mark.name },
          'a former cursor stays: no right to destroy it',
        );
    }
  }
}

function isReplacedBy(mark: FoundBookmark, guid: bigint, createTXG: bigint): boolean {
  return mark.kind === 'CURSOR' ? mark.createTXG < createTXG && mark.guid !== guid : mark.createTXG <= createTXG;
}

function assertFewOwners({ owners }: Traces, owner: string): void {
  if (owners.has(owner)) return;
  const identity = owner.slice(0, owner.indexOf('_J_') + 1);
  const known = [...owners].filter((other) => other.startsWith(identity)).length;
  if (known < ownersPerIdentityMax) return;
  throw new SnapferryError(
    'INVALID_REQUEST',
    `there are cursors of ${known} jobs of this client in the dataset already, which is the limit; remove those of jobs that are ` +
      'no more with "snapferry release" at the source',
  );
}

/** A raw stream fits only onto a raw copy, and one in the clear only onto one in the clear. */
function assertSameForm({ bookmarks }: Traces, from: VersionDetails, isRaw: boolean): void {
  const marks = bookmarks.filter(({ guid }) => guid === from.version.guid);
  const [known] = marks;
  if (known === undefined || marks.some((mark) => mark.isRaw === isRaw)) return;
  const name = versionName(from.dataset, from.version);
  throw new SnapferryError(
    'STREAM_FORMAT_MISMATCH',
    `${name} was sent ${known.isRaw ? 'raw (encrypted)' : 'decrypted'} before, and what follows it would now be sent ` +
      `${isRaw ? 'raw (encrypted)' : 'decrypted'}, which the copy cannot take; set the send option "encrypted" back to ` +
      `${known.isRaw ? 'true' : 'false'}, or replicate the dataset into a new target under another job`,
  );
}
