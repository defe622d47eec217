import type { DatasetPath } from '../dataset.ts';
import { remoteSink } from '../jobs/remote-sink.ts';
import { planReplication } from '../replication/plan-replication.ts';
import type { PlannedFilesystem } from '../replication/replication.ts';
import type { ReplicationSink } from '../sink.ts';
import { defaultChoices } from './choices.ts';
import { exitCodes } from './exit-code.ts';
import type { ExitCode } from './exit-code.ts';
import { planningRequester, withSourceProgress } from './observed-requester.ts';
import { datasetOfPlace } from './open-site.ts';
import { closingAfter, connectRemote, connectSource, onlyDataset } from './peer.ts';
import { planAsJSON, renderPlan } from './render-plan.ts';
import {
  checkSitesApart,
  jobIdFor,
  mappingBetween,
  openEnd,
  sourceRootOf,
  wantedSnapshots,
} from './replication-ends.ts';
import type { ReplicationRequest } from './replication-request.ts';
import type { Run } from './run.ts';
import { showProgress } from './show-progress.ts';

/** Shows what {@link ReplicationRequest} would do now, and changes nothing on either side. */
export async function plan(run: Run, request: ReplicationRequest): Promise<ExitCode> {
  const { terminal } = run;
  if (request.source.kind === 'local' && request.target.kind === 'local') {
    checkSitesApart(await openEnd(run, request, 'source'), await openEnd(run, request, 'target'), request);
  }
  const target = await connectSink(run, request);
  const { filesystems, planned } = await closingAfter(run, target, () => planWith(run, request, target));
  const [only] = filesystems;
  if (only?.plan.kind === 'failed' && filesystems.length === 1) throw only.plan.error;
  terminal.print(renderPlan(request, filesystems, planned));
  terminal.printJSON(planAsJSON(request, filesystems, planned));
  const bad = filesystems.filter(({ plan: { kind } }) => ['conflict', 'empty', 'failed'].includes(kind)).length;
  if (bad === 0) return exitCodes.done;
  return bad === filesystems.length ? exitCodes.failed : exitCodes.incomplete;
}

async function planWith(run: Run, request: ReplicationRequest, { sink, root }: ConnectedSink) {
  const { logger, signal, terminal } = run;
  const source = await connectSource(run, {
    ...request,
    location: request.source,
    sudo: request.source.kind === 'local' ? request.sudo : request.remoteSudo,
    mode: request.takesSnapshot ? 'plan' : 'none',
  });
  return closingAfter(run, source, async () => {
    const observed = withSourceProgress(source, (progress) => showProgress(terminal, progress));
    const { client, planned } = planningRequester(observed);
    const mapping = mappingBetween(sourceRootOf(request), root);
    await mapping.check(client, signal);
    const wanted = wantedSnapshots(request.receive.fromSnapshots);
    const { policy } = request;
    const options = { client, sink, target: mapping.target, policy, signal, logger, ...wanted };
    const { filesystems }: { filesystems: readonly PlannedFilesystem[] } = await planReplication(options);
    return { filesystems, planned };
  });
}

interface ConnectedSink {
  readonly sink: ReplicationSink;
  /** Name at the sink of what becomes the copy of the source's root. */
  readonly root: DatasetPath;
  readonly close: () => Promise<void>;
}

async function connectSink(run: Run, request: ReplicationRequest): Promise<ConnectedSink> {
  const { target, connection, receive, send, recursive, remoteSudo } = request;
  if (target.kind === 'local') {
    const site = await openEnd(run, request, 'target');
    await site.checkTarget();
    const sink = site.sink({ receive, takesProperties: send.properties, jobId: jobIdFor(site), identity: '' });
    return { sink, root: site.dataset, close: () => Promise.resolve() };
  }
  const command = {
    command: 'serve',
    snapshot: 'none',
    choices: defaultChoices,
    place: target,
    sourceRoot: null,
  } as const;
  const client = await connectRemote(
    run,
    target,
    { ...command, recursive, send, receive, sudo: remoteSudo },
    connection,
  );
  const close = () => client.close();
  try {
    // A directory may be given relative to the home there, and only the other side knows where that is.
    const root = datasetOfPlace(target) ?? (await onlyDataset(client, run.signal));
    return { sink: remoteSink(client, run.signal), root, close };
  } catch (error) {
    await close().catch(() => {});
    throw error;
  }
}
