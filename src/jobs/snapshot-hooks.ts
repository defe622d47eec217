import type { SnapshotHook } from '../config/snapshotting.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { spawnCommand } from '../handlers/run-command.ts';
import type { Logger } from '../rpc/interfaces.ts';

/** What is kept of what a hook prints, in bytes. */
const outputBytesMax = 4096;

/** What hooks are run for. */
export interface HookOptions {
  readonly hooks: readonly SnapshotHook[];
  readonly formatName: (dataset: DatasetPath) => string;
  /** Of the snapshot, without the dataset. */
  readonly snapshot: string;
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

/** What became of the hooks before a snapshot. */
export interface HooksBefore {
  /** Those that succeeded, in the order run: their other half is due after the snapshot. */
  readonly succeeded: readonly SnapshotHook[];
  /** Why no snapshot is to be taken. */
  readonly error: SnapferryError | null;
  /** Of hooks that failed, and are allowed to. */
  readonly notices: readonly string[];
}

/** Runs the hooks of a dataset before its snapshot, in order, until one fails that must not. Never rejects. */
export async function runHooksBefore(dataset: DatasetPath, options: HookOptions): Promise<HooksBefore> {
  const succeeded: SnapshotHook[] = [];
  const notices: string[] = [];
  for (const hook of options.hooks.filter(({ filesystems }) => filesystems.filter.matches(dataset))) {
    const error = await runHook(hook, 'pre_snapshot', dataset, options);
    if (error === null) succeeded.push(hook);
    else if (hook.errIsFatal || error.code === 'CANCELLED') return { succeeded, error, notices };
    else notices.push(error.message);
  }
  return { succeeded, error: null, notices };
}

/**
 * Runs the other half of hooks that had succeeded, in the opposite order, whether or not there is a snapshot, and also after a cancel: what
 * was stopped for its sake has to go on. Never rejects.
 * @returns what failed: the first that must not, and notices of the others
 */
export async function runHooksAfter(
  dataset: DatasetPath,
  succeeded: readonly SnapshotHook[],
  options: Omit<HookOptions, 'signal'>,
): Promise<{ readonly error: SnapferryError | null; readonly notices: readonly string[] }> {
  let first: SnapferryError | null = null;
  const notices: string[] = [];
  for (const hook of succeeded.toReversed()) {
    const error = await runHook(hook, 'post_snapshot', dataset, { ...options, signal: undefined });
    if (error === null) continue;
    if (hook.errIsFatal && first === null) first = error;
    else notices.push(error.message);
  }
  return { error: first, notices };
}

async function runHook(
  hook: SnapshotHook,
  edge: 'pre_snapshot' | 'post_snapshot',
  dataset: DatasetPath,
  { formatName, snapshot, signal, logger }: Omit<HookOptions, 'signal'> & { readonly signal: AbortSignal | undefined },
): Promise<SnapferryError | null> {
  const name = formatName(dataset);
  const facts = {
    HOOKTYPE: edge,
    FS: name,
    SNAPNAME: snapshot,
    DRYRUN: 'false',
    TIMEOUT: String(Math.ceil(hook.timeoutMs / 1000)),
  };
  const doing = `the hook ${hook.path} ${edge === 'pre_snapshot' ? 'before' : 'after'} the snapshot of ${name}`;
  const command = spawnCommand({
    argv: [hook.path],
    code: 'SOURCE_FAILED',
    environment: environmentOf(facts),
    deadlineMs: hook.timeoutMs,
    signal,
    stdin: new Uint8Array(0),
  });
  try {
    const output = await headOf(command.stdout);
    await command.finished;
    logger.debug({ hook: hook.path, edge, dataset: name, output }, 'hook done');
    return null;
  } catch (error) {
    // A killed command breaks its output; then the reason is what it was killed for.
    const failure = toSnapferryError(
      await command.finished.then(
        () => error,
        (reason: unknown) => reason,
      ),
      'SOURCE_FAILED',
    );
    logger.warn({ err: failure, hook: hook.path, edge, dataset: name }, 'hook failed');
    return new SnapferryError(failure.code, `${doing} failed: ${failure.message}`, { cause: failure });
  }
}

/** Scripts written for zrepl work as they are. */
function environmentOf(facts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(facts).flatMap(([name, value]) => [
      [`SNAPFERRY_${name}`, value],
      [`ZREPL_${name}`, value],
    ]),
  );
}

/** Reads all, keeps the beginning. */
async function headOf(stdout: AsyncIterable<Uint8Array>): Promise<string> {
  const kept: Uint8Array[] = [];
  let keptBytes = 0;
  for await (const piece of stdout) {
    if (keptBytes >= outputBytesMax) continue;
    const part = Uint8Array.from(piece.subarray(0, outputBytesMax - keptBytes));
    kept.push(part);
    keptBytes += part.byteLength;
  }
  return Buffer.concat(kept).toString('utf8');
}
