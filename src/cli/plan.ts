import { SnapferryError } from '../errors.ts';
import { directorySink } from '../handlers/directory/sink.ts';
import { planReplication } from '../replication/plan-replication.ts';
import type { RPCRequester } from '../rpc/interfaces.ts';
import type { ReplicationSink } from '../sink.ts';
import { exitCodes } from './exit-code.ts';
import type { ExitCode } from './exit-code.ts';
import { checkApart, checkTarget, localDataset } from './local-dataset.ts';
import { planningRequester, withSourceProgress } from './observed-requester.ts';
import { closingAfter, connectRemote, connectSource, onlyDataset } from './peer.ts';
import { planAsJSON, renderPlan } from './render-plan.ts';
import { showProgress } from './show-progress.ts';
import { defaultChoices } from './remote-command.ts';
import type { ReplicationRequest } from './replication-request.ts';
import type { Run } from './run.ts';

/** Shows what {@link ReplicationRequest} would do now, and changes nothing on either side. */
export async function plan(run: Run, request: ReplicationRequest): Promise<ExitCode> {
  const { terminal } = run;
  if (request.source.kind === 'local' && request.target.kind === 'local') {
    const [source, target] = [await localDataset(request.source.path), await localDataset(request.target.path)];
    checkApart(source.directory, target.directory, request.choices.exclude);
  }
  const target = await connectSink(run, request);
  const { only, planned } = await closingAfter(run, target, () => planWith(run, request, target.sink));
  terminal.print(renderPlan(request, only, planned));
  terminal.printJSON(planAsJSON(request, only, planned));
  return only.kind === 'conflict' || only.kind === 'empty' ? exitCodes.failed : exitCodes.done;
}

async function planWith(run: Run, request: ReplicationRequest, sink: ReplicationSink) {
  const { logger, signal, terminal } = run;
  const source = await connectSource(run, {
    location: request.source,
    connection: request.connection,
    mode: request.takesSnapshot ? 'plan' : 'none',
    choices: request.choices,
  });
  return closingAfter(run, source, async () => {
    const observed = withSourceProgress(source, (progress) => showProgress(terminal, progress));
    const { client, planned } = planningRequester(observed);
    await onlyDataset(client, signal);
    const { filesystems } = await planReplication({ client, sink, policy: request.policy, signal, logger });
    const [only] = filesystems;
    if (only === undefined) throw new SnapferryError('DATASET_NOT_FOUND', 'the source offers no dataset');
    if (only.plan.kind === 'failed') throw only.plan.error;
    return { only: only.plan, planned };
  });
}

interface ConnectedSink {
  readonly sink: ReplicationSink;
  readonly close: () => Promise<void>;
}

async function connectSink(run: Run, { target, connection }: ReplicationRequest): Promise<ConnectedSink> {
  if (target.kind === 'local') {
    const { directory } = await localDataset(target.path);
    await checkTarget(directory);
    const sink = directorySink({ locate: () => directory, logger: run.logger });
    return { sink, close: () => Promise.resolve() };
  }
  const command = { command: 'serve', snapshot: 'none', choices: defaultChoices, path: target.path } as const;
  const client = await connectRemote(run, target, command, connection);
  return { sink: readOnlySink(client, run.signal), close: () => client.close() };
}

/**
 * The far end of a push as far as a plan can see it: its versions. What an interrupted push may have left there is not
 * told, so a plan does not show that its first step would go on from the middle.
 */
function readOnlySink(client: RPCRequester, signal: AbortSignal): ReplicationSink {
  const never = (): never => {
    throw new SnapferryError('INTERNAL', 'a plan changes nothing');
  };
  return {
    async filesystemVersions() {
      const filesystem = await onlyDataset(client, signal);
      try {
        return await client.filesystemVersions({ filesystem }, { signal });
      } catch (error) {
        if (error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND') return null;
        throw error;
      }
    },
    resumeState: () => Promise.resolve(null),
    discardPartial: never,
    createParents: never,
    receive: never,
  };
}
