import { randomBytes } from 'node:crypto';
import { lstatSync, statSync } from 'node:fs';
import { mkdir, readdir, realpath, rename } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { Progress } from '../../rpc/interfaces.ts';
import type { TransferBytes } from '../../sink.ts';
import { ArchiveReader } from './archive-reader.ts';
import type { ArchiveMember } from './archive-reader.ts';
import { writeEntry } from './archive-writer.ts';
import { plannedMembers } from './delta-stream.ts';
import type { StreamHeader } from './delta-stream.ts';
import type { Entry } from './entry.ts';
import { checkDelta, checkStep, defaultReceiveLimits, readList } from './receive-delta.ts';
import type { CheckedDelta, ReceiveLimits } from './receive-delta.ts';
import { modesInRestore, TreeExtractor } from './receive-extract.ts';
import { passMembers } from './receive-members.ts';
import { inspectTree } from './receive-tree.ts';
import { checkInTheWay, moveInto } from './restore-move.ts';
import { selectEntries } from './restore-select.ts';
import type { Selection } from './restore-select.ts';
import { isErrno } from './store-files.ts';
import { removeTree, syncFileSystem } from './tree.ts';

/** What to restore, and where to. */
export interface RestoreRequest {
  /** A full stream: what `initialTransfer` of a directory source sends, here or far away. */
  readonly bytes: TransferBytes;
  /** The directory that then holds the tree itself. Created if absent, with its parents. */
  readonly to: string;
  /** Files or subtrees to restore, relative to the snapshot; everything by default. */
  readonly paths?: readonly string[] | undefined;
  /** Whether files that are there may be replaced. Nothing else is ever removed, and no symlink followed. */
  readonly overwrite?: boolean | undefined;
  /** Checks everything that can be known from the list of files, and changes nothing. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Overrides of {@link defaultReceiveLimits}. */
  readonly limits?: Partial<ReceiveLimits> | undefined;
}

/** What was restored; with `dryRun`, what would be. */
export interface RestoreReport {
  /** The snapshot it came from. */
  readonly version: { readonly name: string; readonly guid: bigint; readonly creation: string | null };
  /** Absolute path of the directory restored into. */
  readonly to: string;
  /** Everything, directories included. */
  readonly entries: number;
  readonly files: number;
  /** Sum of the sizes of the files. */
  readonly bytes: number;
  /** Facts worth one line each, e.g. owners that could not be given. */
  readonly notices: readonly string[];
  /** What the snapshot lacks although the source had it, as its own manifest says. */
  readonly missing: readonly string[];
}

/** What is known before the first content. */
interface Plan {
  readonly header: StreamHeader;
  readonly checked: CheckedDelta;
  readonly selection: Selection;
  readonly to: string;
  /** `absent`: made by one rename. `empty`, `used`: exists, and is moved into. */
  readonly found: 'absent' | 'empty' | 'used';
}

/**
 * Restores a tree, or parts of one, from a full stream, which is checked exactly as a receive checks it. It is built in
 * a directory of its own first, named `.snapferry-restore-…`: beside `to` if that is absent, and then renamed, so that
 * all of it appears at once; inside `to` otherwise. Directories that are there already keep their owner, mode and time,
 * except for `to` itself when it was empty.
 * @throws SnapferryError `INVALID_REQUEST` when a path is not in the snapshot or something is in the way; `CANCELLED`;
 * the codes of a refused stream; `INTERNAL` with tar's own words
 */
export async function restore(request: RestoreRequest): Promise<RestoreReport> {
  const reader = new ArchiveReader(request.bytes, request.signal);
  try {
    const plan = await planRestore(request, reader);
    const notices = request.dryRun === true ? [] : await carryOut(request, plan, reader);
    const files = plan.selection.entries.filter(({ type }) => type === 'file');
    return {
      version: plan.header.to,
      to: plan.to,
      entries: plan.selection.entries.length,
      files: files.length,
      bytes: files.reduce((sum, { size }) => sum + size, 0),
      notices,
      missing: plan.header.missing,
    };
  } catch (error) {
    throw toSnapferryError(error, 'INTERNAL', `restoring into ${request.to}`);
  } finally {
    await reader.close();
  }
}

async function planRestore(request: RestoreRequest, reader: ArchiveReader): Promise<Plan> {
  const list = await readList(reader, { ...defaultReceiveLimits, ...request.limits }, () => Promise.resolve());
  checkStep(list.header, { from: null, to: list.header.to.guid, resumed: false });
  const checked = await checkDelta([], list);
  const selection = selectEntries(checked.to, request.paths);
  const { to, found } = await look(request.to);
  if (found === 'used') await checkInTheWay(to, selection.entries, request.overwrite === true);
  return { header: list.header, checked, selection, to, found };
}

async function look(directory: string): Promise<Pick<Plan, 'to' | 'found'>> {
  const path = resolve(directory);
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return { to: path, found: 'absent' };
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new SnapferryError('INVALID_REQUEST', `cannot restore into ${path}: it is not a directory`);
  }
  const to = await realpath(path);
  return { to, found: (await readdir(to)).length === 0 ? 'empty' : 'used' };
}

async function carryOut(request: RestoreRequest, plan: Plan, reader: ArchiveReader): Promise<readonly string[]> {
  const { to, found } = plan;
  const parent = found === 'absent' ? dirname(to) : to;
  await mkdir(parent, { recursive: true });
  const staged = join(parent, `.snapferry-restore-${randomBytes(6).toString('hex')}`);
  await mkdir(staged, { mode: 0o700 });
  try {
    const root: RootMember = { member: null };
    const notices = await extract(request, plan, reader, staged, root);
    await syncFileSystem(staged);
    if (found === 'absent') await renameTo(staged, to);
    else await moveInto(to, staged, plan.selection.entries, request.overwrite === true);
    // With the staging directory inside, its removal would change the time again.
    await removeTree(staged);
    if (found === 'empty') await applyRoot(plan, root);
    await syncFileSystem(parent);
    return notices;
  } catch (error) {
    await removeTree(staged);
    throw error;
  }
}

async function renameTo(staged: string, to: string): Promise<void> {
  try {
    await rename(staged, to);
  } catch (error) {
    if (!isErrno(error, 'ENOTEMPTY', 'EEXIST', 'ENOTDIR')) throw error;
    throw new SnapferryError('INVALID_REQUEST', `${to} has appeared meanwhile; it was left alone`, { cause: error });
  }
}

/** The root's own member, kept for when its attributes can be given to a directory that exists. */
interface RootMember {
  member: Pick<ArchiveMember, 'attributes'> | null;
}

async function extract(
  request: RestoreRequest,
  { header, checked, selection, found }: Plan,
  reader: ArchiveReader,
  staged: string,
  root: RootMember,
): Promise<readonly string[]> {
  const total = selection.entries.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  const extractor = new TreeExtractor(staged);
  const place = (entry: Entry, member: ArchiveMember | null): Entry | null => {
    const placed = selection.place(entry);
    if (placed?.path !== '') return placed;
    root.member = member;
    // The staging directory becomes the root only by a rename; otherwise things must be moved out of it.
    return found === 'absent' ? placed : null;
  };
  let complaints: readonly string[];
  try {
    await passMembers({
      reader,
      writer: extractor.writer,
      planned: plannedMembers({ ...checked, skipped: 0 }),
      place,
      modeOf: modesInRestore(),
      signal: request.signal,
      onFile: ({ size }) => {
        done += size;
        request.onProgress?.({ message: `restoring @${header.to.name}`, done, total });
      },
    });
    complaints = await extractor.finish();
  } catch (error) {
    await extractor.windDown();
    throw error;
  }
  const expected = found === 'absent' ? selection.entries : selection.entries.filter(({ path }) => path !== '');
  return (await inspectTree(staged, expected, complaints)).notices;
}

async function applyRoot({ checked, to }: Plan, { member }: RootMember): Promise<void> {
  const [entry] = checked.to;
  if (entry === undefined) return;
  const extractor = new TreeExtractor(to);
  try {
    await writeEntry(extractor.writer, entry, modesInRestore()(entry), member, null);
    await extractor.finish();
  } catch (error) {
    await extractor.windDown();
    throw error;
  }
}
