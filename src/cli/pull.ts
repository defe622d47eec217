import { formatVersion } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { replicate } from '../replication/replicate.ts';
import type { ReplicationEvent } from '../replication/replication.ts';
import type { PullReport, RPCRequester } from '../rpc/interfaces.ts';
import { formatBytes, printable } from './format.ts';
import { withSourceProgress } from './observed-requester.ts';
import { closingAfter, connectSource } from './peer.ts';
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
import type { Terminal } from './terminal.ts';

/** Pulls SOURCE into TARGET, which is on this machine. */
export async function pull(run: Run, request: ReplicationRequest): Promise<ReplicationOutcome> {
  const startedMs = performance.now();
  const target = await openEnd(run, request, 'target');
  if (request.source.kind === 'local') checkSitesApart(await openEnd(run, request, 'source'), target, request);
  await target.checkTarget();
  const snapshots: TakenSnapshot[] = [];
  const connected = await connectSource(run, {
    ...request,
    location: request.source,
    sudo: request.source.kind === 'local' ? request.sudo : request.remoteSudo,
    mode: request.takesSnapshot ? 'take' : 'none',
    onSnapshot: (taken) => snapshots.push(taken),
  });
  const { report, steps } = await closingAfter(run, connected, () => replicateInto(run, request, connected, target));
  return { report, snapshots, steps, site: target, durationMs: performance.now() - startedMs };
}

async function replicateInto(
  run: Run,
  request: ReplicationRequest,
  connected: RPCRequester,
  target: Site,
): Promise<{ report: PullReport; steps: MadeStep[] }> {
  const { policy, receive, send } = request;
  const client = withSourceProgress(connected, (progress) => showProgress(run.terminal, progress));
  const mapping = mappingBetween(sourceRootOf(request), target.dataset);
  await mapping.check(client, run.signal);
  const jobId = jobIdFor(target);
  const steps: MadeStep[] = [];
  const replication = replicate({
    client,
    sink: target.sink({ receive, takesProperties: send.properties, jobId, identity: '' }),
    target: mapping.target,
    policy,
    jobId,
    formatName: target.formatName,
    ...wantedSnapshots(receive.fromSnapshots),
    signal: run.signal,
    logger: run.logger,
  });
  const nameOf = (filesystem: DatasetPath): string => (request.recursive ? target.formatName(filesystem) : '');
  for await (const event of replication) {
    if (event.kind === 'stepDone') steps.push(event.step);
    showEvent(run.terminal, event, nameOf);
  }
  return { report: await replication.report, steps };
}

/**
 * Shows what a run tells.
 * @param nameOf what to put before the name of a version; empty where there is only one dataset
 */
export function showEvent(
  terminal: Terminal,
  event: ReplicationEvent,
  nameOf: (filesystem: DatasetPath) => string,
): void {
  switch (event.kind) {
    case 'stepStarted': {
      const { step, resumed, filesystem } = event;
      terminal.note(
        describeStep('receiving', step, { estimatedBytes: step.estimatedBytes, resumed, of: nameOf(filesystem) }),
      );
      return;
    }
    case 'bytes':
      terminal.progress.transfer('receiving', event.total);
      return;
    case 'sourceProgress':
      showProgress(terminal, event.progress);
      return;
    case 'stepDone': {
      const version = printable(nameOf(event.filesystem) + formatVersion(event.step.to));
      terminal.note(`received ${version}: ${formatBytes(event.bytes)}`);
      return;
    }
    case 'retrying':
      terminal.note(`busy: ${event.error.message}; trying again`);
      return;
    default:
  }
}

/** What is known of a step that begins. */
export interface StepFacts {
  readonly estimatedBytes: number | null;
  readonly resumed: boolean;
  /** Name of the dataset, empty where there is only one. */
  readonly of: string;
}

/** What a step is called by. */
export interface NamedStep {
  readonly from: Pick<FilesystemVersion, 'type' | 'name'> | null;
  readonly to: Pick<FilesystemVersion, 'type' | 'name'>;
}

/** `receiving @b (incremental from @a, about 12 KiB)`. */
export function describeStep(doing: string, step: NamedStep, { estimatedBytes, resumed, of }: StepFacts): string {
  const from = step.from === null ? 'all of it' : `incremental from ${printable(formatVersion(step.from))}`;
  const size = estimatedBytes === null ? 'size unknown' : `about ${formatBytes(estimatedBytes)}`;
  const how = resumed ? ', going on where it was interrupted' : '';
  return `${doing} ${printable(of + formatVersion(step.to))} (${from}, ${size}${how})`;
}
