import type { DatasetPath } from '../dataset.ts';
import { formatDatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { delegating } from '../handlers/delegating.ts';
import { createProgressMeter } from '../replication/progress.ts';
import { pullInto } from '../replication/pull-me.ts';
import type { RPCHandler, RPCRequester } from '../rpc/interfaces.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import type { ReplicationSink } from '../sink.ts';
import { defaultChoices } from './choices.ts';
import type { ReceiveChoices } from './choices.ts';
import { closingAfter, connectRemote, sourceHandler } from './peer.ts';
import { describeStep } from './pull.ts';
import {
  checkSitesApart,
  jobIdFor,
  mappingBetween,
  openEnd,
  sourceRootOf,
  wantedSnapshots,
} from './replication-ends.ts';
import type { MadeStep, ReplicationOutcome } from './replication-outcome.ts';
import type { ReplicationRequest } from './replication-request.ts';
import type { Run } from './run.ts';
import { showProgress } from './show-progress.ts';
import type { Site, TakenSnapshot } from './site.ts';
import { UsageError } from './usage-error.ts';
import { watchedTransfers } from '../jobs/watched-transfers.ts';

/** Has TARGET pull from SOURCE, which is on this machine. */
export async function push(run: Run, request: ReplicationRequest): Promise<ReplicationOutcome> {
  const startedMs = performance.now();
  const source = await openEnd(run, request, 'source');
  const client = await connectTarget(run, request, source);
  const snapshots: TakenSnapshot[] = [];
  const steps: MadeStep[] = [];
  const mode = request.takesSnapshot ? 'take' : 'none';
  const handler = sourceHandler(source, { ...request, mode }, (taken) => snapshots.push(taken));
  const nameOf = (filesystem: DatasetPath): string => (request.recursive ? source.formatName(filesystem) : '');
  const shown = withLocalProgress(watched(run, handler, steps, nameOf), run);
  const report = await closingAfter(run, client, () =>
    client.pullMe({ initialReplicationPolicy: request.policy }, shown, { signal: run.signal }),
  );
  return { report, snapshots, steps, site: source, durationMs: performance.now() - startedMs };
}

async function connectTarget(run: Run, request: ReplicationRequest, source: Site): Promise<RPCRequester> {
  const { target, connection, recursive, send, receive, remoteSudo } = request;
  const sourceRoot = sourceRootOf(request);
  if (target.kind === 'remote') {
    const root = sourceRoot && formatDatasetPath(sourceRoot);
    const command = { command: 'serve', snapshot: 'none', choices: defaultChoices, place: target } as const;
    const rest = { recursive, send, receive, sourceRoot: root, sudo: remoteSudo };
    return connectRemote(run, target, { ...command, ...rest }, connection);
  }
  const site = await openEnd(run, request, 'target');
  checkSitesApart(source, site, request);
  await site.checkTarget();
  const options = { receive, takesProperties: send.properties, sourceRoot, allowLocal: true };
  return LocalRPC.connect(receivingHandler(site, nothingToRead, options), { logger: run.logger });
}

/** How pushes into a site are received. */
export interface ReceivingOptions {
  readonly receive: ReceiveChoices;
  readonly takesProperties: boolean;
  /** The client's dataset whose place the site is; null: there is one, whatever its name. */
  readonly sourceRoot: DatasetPath | null;
  readonly allowLocal?: boolean;
  /** Keeps what is stored in bounds. */
  readonly confine?: (sink: ReplicationSink) => ReplicationSink;
}

/** A handler that answers as `base` does, and that a push brings up to date. */
export function receivingHandler(site: Site, base: RPCHandler, options: ReceivingOptions): RPCHandler {
  const {
    receive,
    takesProperties,
    sourceRoot,
    allowLocal = false,
    confine = (sink: ReplicationSink) => sink,
  } = options;
  const mapping = mappingBetween(sourceRoot, site.dataset);
  const jobId = jobIdFor(site);
  return delegating(base, {
    async pullMe(request, context) {
      await site.checkTarget().catch(refuse);
      const pullMe = pullInto({
        sink: confine(site.sink({ receive, takesProperties, jobId, identity: context.clientIdentity })),
        target: mapping.target,
        jobId,
        allowLocal,
        formatName: site.formatName,
        ...wantedSnapshots(receive.fromSnapshots),
      });
      const pull = await pullMe(request, context);
      return async (client) => {
        await mapping.check(client, context.signal);
        return pull(client);
      };
    },
  });
}

const nothing = () => Promise.reject(new SnapferryError('ACCESS_DENIED', 'this end of a push is not read from'));

/** The base of a handler that is only pushed to. */
export const nothingToRead: RPCHandler = {
  filesystems: nothing,
  filesystemVersions: nothing,
  initialTransfer: nothing,
  incrementalTransfer: nothing,
};

/** What is wrong usage here is a refusal to the peer that asked for it. */
function refuse(error: unknown): never {
  throw error instanceof UsageError ? new SnapferryError('INVALID_REQUEST', error.message, { cause: error }) : error;
}

/** Shows what goes out. */
function watched(
  { terminal }: Run,
  handler: RPCHandler,
  steps: MadeStep[],
  nameOf: (filesystem: DatasetPath) => string,
): RPCHandler {
  const meter = createProgressMeter({ estimatedBytes: null, now: () => performance.now() });
  let expected: number | null = 0;
  return watchedTransfers(handler, {
    onTransfer(request, { estimatedBytes, resumed }) {
      const step = 'version' in request ? { from: null, to: request.version } : { from: request.from, to: request.to };
      steps.push(step);
      expected = expected === null || estimatedBytes === null ? null : expected + estimatedBytes;
      meter.expect(expected);
      terminal.note(describeStep('sending', step, { estimatedBytes, resumed, of: nameOf(request.filesystem) }));
    },
    onBytes(bytes) {
      meter.add(bytes);
      terminal.progress.transfer('sending', meter.read());
    },
  });
}

/** The snapshot is taken here, so this is where its progress is of interest. */
function withLocalProgress(handler: RPCHandler, { terminal }: Run): RPCHandler {
  return delegating(handler, {
    filesystemVersions: (request, context) =>
      handler.filesystemVersions(request, {
        ...context,
        progress(progress) {
          context.progress(progress);
          showProgress(terminal, progress);
        },
      }),
  });
}
