import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import type { FilesystemResult, Logger, PullReport, RPCHandler } from '../rpc/interfaces.ts';
import type { ReplicationSink } from '../sink.ts';
import { replicate } from './replicate.ts';
import type { Replication, ReplicationEvent } from './replication.ts';
import type { RetryPolicy } from './retry.ts';

/** What {@link pullInto} takes. */
export interface PullIntoOptions {
  /** Where pushed datasets go. */
  readonly sink: ReplicationSink;
  /** As in `ReplicateOptions`: the pushing side keeps one cursor for each. */
  readonly jobId: string;
  /** Which of the client's datasets are accepted. Default: all. The others are left out silently. */
  readonly select?: (filesystem: DatasetPath, clientIdentity: string) => boolean;
  /** Where a client's dataset goes. Default: the same name. Give each client a place of its own, or they collide. */
  readonly target?: (filesystem: DatasetPath, clientIdentity: string) => DatasetPath;
  /** Which snapshots are pulled, see `PlanReplicationOptions.isWanted`. Default: all. */
  readonly isWanted?: (snapshot: FilesystemVersion) => boolean;
  /** As in `ReplicateOptions`. */
  readonly formatName?: (filesystem: DatasetPath) => string;
  /** Whether the identity `local`, of a caller in this process, may push. Default false. */
  readonly allowLocal?: boolean;
  readonly concurrency?: number;
  readonly retry?: Partial<RetryPolicy>;
  /** Sees the events of every pull. If it throws, it sees no more of that one. */
  readonly onEvent?: (event: ReplicationEvent, clientIdentity: string) => void;
}

/**
 * The `pullMe` of a handler that receives pushes: once the request is confirmed it pulls from the client, with the
 * request's policy, and reports. Refuses before any confirmation, with `ACCESS_DENIED`, whoever cannot be told apart:
 * an empty identity, and `local` unless allowed.
 */
export function pullInto(options: PullIntoOptions): NonNullable<RPCHandler['pullMe']> {
  const { select, target } = options;
  return ({ initialReplicationPolicy }, { clientIdentity, signal, logger }) => {
    if (clientIdentity === '' || (clientIdentity === 'local' && options.allowLocal !== true)) {
      const who = clientIdentity === '' ? 'without an identity' : 'within this process';
      return Promise.reject(
        new SnapferryError('ACCESS_DENIED', `a client ${who} may not push here; connect in a way that names it`),
      );
    }
    return Promise.resolve(async (client) => {
      const replication = replicate({
        client,
        sink: options.sink,
        jobId: options.jobId,
        policy: initialReplicationPolicy,
        signal,
        logger,
        ...(select === undefined ? {} : { select: (filesystem) => select(filesystem, clientIdentity) }),
        ...(target === undefined ? {} : { target: (filesystem) => target(filesystem, clientIdentity) }),
        ...(options.isWanted === undefined ? {} : { isWanted: options.isWanted }),
        ...(options.formatName === undefined ? {} : { formatName: options.formatName }),
        ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
        ...(options.retry === undefined ? {} : { retry: options.retry }),
      });
      void watch(replication, options, clientIdentity, logger);
      return boundReport(await replication.report);
    });
  };
}

async function watch(events: Replication, { onEvent }: PullIntoOptions, clientIdentity: string, logger: Logger) {
  if (onEvent === undefined) return;
  try {
    for await (const event of events) onEvent(event, clientIdentity);
  } catch (error) {
    // The end of a failed run comes here too; its report says the same.
    logger.warn({ err: error, clientIdentity }, 'stopped watching a pull');
  }
}

/** Half of what a request body may be by default, so that the pusher's limits take the report. */
const reportBytesMax = 512 * 1024;
const messageCharactersMax = 500;

/** A report that fits into a message: a large one loses its lists and the ends of its messages, never a result. */
export function boundReport(report: PullReport): PullReport {
  if (Buffer.byteLength(JSON.stringify(report)) <= reportBytesMax) return report;
  const shorten = (result: FilesystemResult): FilesystemResult => ({
    ...result,
    message:
      result.message.length <= messageCharactersMax
        ? result.message
        : `${result.message.slice(0, messageCharactersMax)}…`,
    notices: [],
    missing: result.missing.slice(0, 1),
  });
  return { filesystems: report.filesystems.map(shorten) };
}
