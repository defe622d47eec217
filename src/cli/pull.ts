import { formatVersion } from '../dataset.ts';
import { directorySink } from '../handlers/directory/sink.ts';
import type { SnapshotResult } from '../handlers/directory/snapshot.ts';
import { replicate } from '../replication/replicate.ts';
import type { ReplicationEvent } from '../replication/replication.ts';
import type { PullReport, RPCRequester } from '../rpc/interfaces.ts';
import { formatBytes, printable } from './format.ts';
import { checkApart, checkTarget, jobIdFor, localDataset } from './local-dataset.ts';
import type { LocalDataset } from './local-dataset.ts';
import { withSourceProgress } from './observed-requester.ts';
import { closingAfter, connectSource, onlyDataset } from './peer.ts';
import type { MadeStep, ReplicationOutcome } from './replication-outcome.ts';
import type { ReplicationRequest } from './replication-request.ts';
import type { Run } from './run.ts';
import { showProgress } from './show-progress.ts';
import type { Terminal } from './terminal.ts';

/** Pulls SOURCE into TARGET, which is on this machine. */
export async function pull(run: Run, request: ReplicationRequest): Promise<ReplicationOutcome> {
  const startedMs = performance.now();
  const target = await localDataset(request.target.path);
  if (request.source.kind === 'local') {
    checkApart((await localDataset(request.source.path)).directory, target.directory, request.choices.exclude);
  }
  await checkTarget(target.directory);
  let snapshot: SnapshotResult | null = null;
  const connected = await connectSource(run, {
    location: request.source,
    connection: request.connection,
    mode: request.takesSnapshot ? 'take' : 'none',
    choices: request.choices,
    onSnapshot: (result) => (snapshot = result),
  });
  const { report, steps } = await closingAfter(run, connected, () => replicateInto(run, request, connected, target));
  return { report, snapshot, steps, directory: target.directory, durationMs: performance.now() - startedMs };
}

async function replicateInto(
  run: Run,
  { policy }: ReplicationRequest,
  connected: RPCRequester,
  { directory }: LocalDataset,
): Promise<{ report: PullReport; steps: MadeStep[] }> {
  const client = withSourceProgress(connected, (progress) => showProgress(run.terminal, progress));
  await onlyDataset(client, run.signal);
  const steps: MadeStep[] = [];
  const replication = replicate({
    client,
    sink: directorySink({ locate: () => directory, logger: run.logger }),
    policy,
    jobId: jobIdFor(directory),
    signal: run.signal,
    logger: run.logger,
  });
  for await (const event of replication) {
    if (event.kind === 'stepDone') steps.push(event.step);
    showEvent(run.terminal, event);
  }
  return { report: await replication.report, steps };
}

function showEvent(terminal: Terminal, event: ReplicationEvent): void {
  switch (event.kind) {
    case 'stepStarted':
      terminal.note(describeStep('receiving', event.step, event.step.estimatedBytes, event.resumed));
      return;
    case 'bytes':
      terminal.progress.transfer('receiving', event.total);
      return;
    case 'sourceProgress':
      showProgress(terminal, event.progress);
      return;
    case 'stepDone':
      terminal.note(`received ${printable(formatVersion(event.step.to))}: ${formatBytes(event.bytes)}`);
      return;
    case 'retrying':
      terminal.note(`busy: ${event.error.message}; trying again`);
      return;
    default:
  }
}

/** `receiving @b (incremental from @a, about 12 KiB)`. */
export function describeStep(doing: string, step: MadeStep, estimatedBytes: number | null, resumed: boolean): string {
  const from = step.from === null ? 'all of it' : `incremental from ${printable(formatVersion(step.from))}`;
  const size = estimatedBytes === null ? 'size unknown' : `about ${formatBytes(estimatedBytes)}`;
  const how = resumed ? ', going on where it was interrupted' : '';
  return `${doing} ${printable(formatVersion(step.to))} (${from}, ${size}${how})`;
}
