import pLimit from 'p-limit';
import type { ErrorCode } from '../../errors.ts';
import { runCommand, spawnCommand, type RunningCommand } from '../run-command.ts';
import type { ZfsArguments } from './commands.ts';
import { zfsFailure } from './output-failure.ts';

/** How `zfs` is run. */
export interface ZfsToolOptions {
  /** The program, and what stands before it: `['sudo', '-n', 'zfs']`. Default `['zfs']`. */
  readonly argv?: readonly [string, ...string[]] | undefined;
  /** Ends everything but streams, in ms. Default 10 minutes: a list of a million snapshots on slow disks takes some. */
  readonly deadlineMs?: number | undefined;
  /** Ends a stream that stands still through the fault of `zfs`, in ms. Default 30 minutes. */
  readonly stallMsMax?: number | undefined;
  /** Commands that run at the same time, streams not counted. Default 4. */
  readonly commandsMax?: number | undefined;
}

/** What a command is about. */
export interface ZfsCommandRequest {
  /** What is being done, to what, for the error: `listing the versions of tank/home`. */
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
  /** Code of a failure whose cause has none of its own. Default `SOURCE_FAILED`. */
  readonly fallback?: ErrorCode | undefined;
}

/** The `zfs` of one machine. Holds nothing open; nothing needs to be closed. */
export interface ZfsTool {
  /**
   * Runs a command to its end.
   * @param request `accepts`: whether a failure with this stderr is none, because what was wanted is so already
   * @throws SnapferryError as `zfsFailure` says, `TIMEOUT`, `CANCELLED`
   */
  run(
    args: ZfsArguments,
    request: ZfsCommandRequest & { readonly accepts?: ((stderr: string) => boolean) | undefined },
  ): Promise<{ readonly stdout: Buffer; readonly stderr: string }>;
  /**
   * Starts a stream. Whoever does awaits `finished` or calls `stop`.
   * @param request `stream`: on which side of the command the bytes are that must not stand still
   */
  spawn(
    args: ZfsArguments,
    request: ZfsCommandRequest & {
      readonly stream: 'input' | 'output';
      /** Told the stderr of a command that failed by itself, before `finished` rejects. */
      readonly onFailure?: ((stderr: string) => void) | undefined;
    },
  ): RunningCommand;
}

const deadlineMsDefault = 10 * 60_000;
const stallMsMaxDefault = 30 * 60_000;
const commandsMaxDefault = 4;
const stdoutBytesMax = 512 * 1024 * 1024;

/** The `zfs` of this machine, or of another user of it. */
export function zfsTool(options: ZfsToolOptions = {}): ZfsTool {
  const program = options.argv ?? ['zfs'];
  const limit = pLimit(options.commandsMax ?? commandsMaxDefault);
  const commandOf = (args: ZfsArguments, request: ZfsCommandRequest) => {
    const argv = [...program, ...args] as [string, ...string[]];
    return {
      argv,
      signal: request.signal,
      code: request.fallback ?? 'SOURCE_FAILED',
      failure: (status: number | NodeJS.Signals | null, stderr: string) =>
        zfsFailure({ argv }, status, stderr, { doing: request.doing, fallback: request.fallback }),
    };
  };
  return {
    run: (args, { accepts, ...request }) =>
      limit(() =>
        runCommand({
          ...commandOf(args, request),
          deadlineMs: options.deadlineMs ?? deadlineMsDefault,
          stdoutBytesMax,
          acceptsStatus: accepts && ((_, stderr) => accepts(stderr)),
        }),
      ),
    spawn: (args, { stream, onFailure, ...request }) => {
      const command = commandOf(args, request);
      return spawnCommand({
        ...command,
        failure: (status, stderr) => {
          onFailure?.(stderr);
          return command.failure(status, stderr);
        },
        stall: { of: stream, msMax: options.stallMsMax ?? stallMsMaxDefault },
        stdin: stream === 'output' ? new Uint8Array(0) : undefined,
      });
    },
  };
}
