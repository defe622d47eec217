import { SnapferryError } from '../errors.ts';
import { directorySink } from '../handlers/directory/sink.ts';
import type { SnapshotResult } from '../handlers/directory/snapshot.ts';
import { createProgressMeter } from '../replication/progress.ts';
import { pullInto } from '../replication/pull-me.ts';
import { delegating } from '../handlers/delegating.ts';
import { directoryHandler } from '../handlers/directory/handler.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import type { RPCHandler, RPCRequester } from '../rpc/interfaces.ts';
import { checkApart, checkTarget, jobIdFor, localDataset } from './local-dataset.ts';
import type { LocalDataset } from './local-dataset.ts';
import { closingAfter, connectRemote, onlyDataset, sourceHandler } from './peer.ts';
import { describeStep } from './pull.ts';
import { showProgress } from './show-progress.ts';
import { defaultChoices } from './remote-command.ts';
import type { MadeStep, ReplicationOutcome } from './replication-outcome.ts';
import type { ReplicationRequest } from './replication-request.ts';
import type { Run } from './run.ts';
import { UsageError } from './usage-error.ts';
import { watchedTransfers } from './watched-handler.ts';

/** Has TARGET pull from SOURCE, which is on this machine. */
export async function push(run: Run, request: ReplicationRequest): Promise<ReplicationOutcome> {
  const startedMs = performance.now();
  const source = await localDataset(request.source.path);
  const client = await connectTarget(run, request, source);
  let snapshot: SnapshotResult | null = null;
  const steps: MadeStep[] = [];
  const handler = sourceHandler(source, run, {
    mode: request.takesSnapshot ? 'take' : 'none',
    choices: request.choices,
    onSnapshot: (result) => (snapshot = result),
  });
  const report = await closingAfter(run, client, () =>
    client.pullMe({ initialReplicationPolicy: request.policy }, withLocalProgress(watched(run, handler, steps), run), {
      signal: run.signal,
    }),
  );
  return { report, snapshot, steps, directory: source.directory, durationMs: performance.now() - startedMs };
}

async function connectTarget(run: Run, request: ReplicationRequest, source: LocalDataset): Promise<RPCRequester> {
  const { target, connection } = request;
  if (target.kind === 'remote') {
    const command = { command: 'serve', snapshot: 'none', choices: defaultChoices, path: target.path } as const;
    return connectRemote(run, target, command, connection);
  }
  const dataset = await localDataset(target.path);
  checkApart(source.directory, dataset.directory, request.choices.exclude);
  await checkTarget(dataset.directory);
  return LocalRPC.connect(receivingHandler(dataset, run, { allowLocal: true }), { logger: run.logger });
}

/** The handler of a dataset that can be read, and that a push may bring up to date. */
export function receivingHandler(
  dataset: LocalDataset,
  { logger }: Pick<Run, 'logger'>,
  { allowLocal = false, base }: { readonly allowLocal?: boolean; readonly base?: RPCHandler } = {},
): RPCHandler {
  const pullMe = pullInto({
    sink: directorySink({ locate: () => dataset.directory, logger }),
    jobId: jobIdFor(dataset.directory),
    allowLocal,
  });
  return delegating(base ?? directoryHandler({ datasets: [dataset], logger }), {
    async pullMe(request, context) {
      await checkTarget(dataset.directory).catch(refuse);
      const pull = await pullMe(request, context);
      return async (client) => {
        await onlyDataset(client, context.signal);
        return pull(client);
      };
    },
  });
}

/** What is wrong usage here is a refusal to the peer that asked for it. */
function refuse(error: unknown): never {
  throw error instanceof UsageError ? new SnapferryError('INVALID_REQUEST', error.message, { cause: error }) : error;
}

/** Shows what goes out. */
function watched({ terminal }: Run, handler: RPCHandler, steps: MadeStep[]): RPCHandler {
  const meter = createProgressMeter({ estimatedBytes: null, now: () => performance.now() });
  let expected: number | null = 0;
  return watchedTransfers(handler, {
    onTransfer(request, { estimatedBytes, resumed }) {
      const step = 'version' in request ? { from: null, to: request.version } : { from: request.from, to: request.to };
      steps.push(step);
      expected = expected === null || estimatedBytes === null ? null : expected + estimatedBytes;
      meter.expect(expected);
      terminal.note(describeStep('sending', step, estimatedBytes, resumed));
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
