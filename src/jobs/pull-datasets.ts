import type { ReplicationSettings } from '../config/transfer-settings.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import type { SnapferryError } from '../errors.ts';
import { toSnapferryError } from '../errors.ts';
import { planReplication } from '../replication/plan-replication.ts';
import { conflictCode } from '../replication/replication.ts';
import type { PlannedFilesystem, ReplicationEvent, ReplicationPlan } from '../replication/replication.ts';
import { describeConflict } from '../replication/plan.ts';
import type { FilesystemResult, PullReport, RPCRequester } from '../rpc/interfaces.ts';
import { toldAttempts, whileMoving } from './attempts.ts';
import type { PlannedDataset } from './job-events.ts';
import { isStall, newestCommon, refusalOf, replicateRound } from './replicate-round.ts';
import type { RoundOptions, RoundResult } from './replicate-round.ts';
import { toRunError } from './run-error.ts';
import { runVersion } from './run-ledger.ts';
import type { RunLedger } from './run-ledger.ts';
import type { RunError } from './run-result.ts';

/** What a pull needs. */
export interface PullOptions extends Omit<RoundOptions, 'onEvent' | 'onMove'> {
  readonly settings: Pick<ReplicationSettings, 'retry' | 'stallMsMax'>;
  readonly ledger: RunLedger;
  /** A dataset of the source, for people. */
  readonly formatName: (dataset: DatasetPath) => string;
  readonly target: (dataset: DatasetPath) => DatasetPath;
  /** False where the source has called, and cannot be called back. */
  readonly mayReconnect: boolean;
}

/** What a pull has come to. Its results are in the ledger already. */
export interface Pulled {
  readonly report: PullReport;
  /** Every dataset of the source that was meant. */
  readonly datasets: readonly PlannedFilesystem[];
  /** By the source's name of a dataset, as `formatDatasetPath` writes it: guid of the newest version that both sides have. */
  readonly common: ReadonlyMap<string, bigint>;
}

/**
 * Brings the target up to date, as often as it takes within the patience of the settings: a connection that was lost is made again, and
 * what failed for a reason that may pass is tried again, while the rest goes on.
 * @throws SnapferryError when the source's datasets could not be listed, even after all attempts
 */
export async function pullDatasets(options: PullOptions, signal: AbortSignal): Promise<Pulled> {
  const what = `the job ${options.jobId}`;
  const { stallMsMax } = options.settings;
  return whileMoving({ clock: options.clock, signal, stallMsMax, what }, async (moving, onMove) => {
    const pull = new Pull(options, moving, onMove);
    await pull.carryOut();
    return pull.settle();
  });
}

/** A pull of several rounds. */
class Pull {
  readonly #options: PullOptions;
  readonly #signal: AbortSignal;
  readonly #onMove: () => void;
  /** The newest result of each dataset, and what the rounds before it have transferred. */
  readonly #results = new Map<string, RoundResult>();
  readonly #earlier = new Map<string, FilesystemResult>();
  readonly #common = new Map<string, bigint>();
  #failure: SnapferryError | null = null;

  constructor(options: PullOptions, signal: AbortSignal, onMove: () => void) {
    this.#options = options;
    this.#signal = signal;
    this.#onMove = onMove;
  }

  async carryOut(): Promise<void> {
    const failure = await toldAttempts(() => this.#attempt(), {
      ...this.#options,
      signal: this.#signal,
      onMove: this.#onMove,
      reasons: () => this.#reasons(),
    });
    this.#failure = failure ?? this.#failure;
  }

  async #attempt() {
    const { mayReconnect } = this.#options;
    this.#failure = null;
    const before = this.#left();
    try {
      const round = await replicateRound(this.#roundOptions(before), this.#signal);
      for (const one of round) this.#take(one);
      const isLeft = this.#left().size > 0 && !this.#signal.aborted;
      const isConnectionLost = round.some(({ result }) => isDeadly(result.code));
      return {
        isLeft: isLeft && (mayReconnect || !isConnectionLost),
        hasArrived: round.some(({ result }) => result.steps > 0),
      };
    } catch (error) {
      const failure = toSnapferryError(error, 'INTERNAL', 'replicating');
      this.#failure = failure;
      return { isLeft: failure.retryable && (mayReconnect || !failure.connectionDead), hasArrived: false };
    }
  }

  /** What is to be tried again; of the first round: everything. */
  #left(): ReadonlySet<string> {
    return new Set([...this.#results].filter(([, { retryable }]) => retryable).map(([name]) => name));
  }

  #roundOptions(left: ReadonlySet<string>): RoundOptions {
    const { select } = this.#options;
    const isFirst = this.#results.size === 0;
    return {
      ...this.#options,
      select: (dataset) => (select?.(dataset) ?? true) && (isFirst || left.has(formatDatasetPath(dataset))),
      onMove: this.#onMove,
      onEvent: (event) => {
        this.#onMove();
        this.#tell(event);
      },
    };
  }

  #take(one: RoundResult): void {
    const name = formatDatasetPath(one.planned.filesystem);
    const former = this.#results.get(name)?.result;
    if (former !== undefined) {
      const earlier = this.#earlier.get(name);
      this.#earlier.set(name, earlier === undefined ? former : sum(earlier, former));
    }
    this.#results.set(name, one);
    const common = newestCommon(one);
    if (common !== null) this.#common.set(name, common.guid);
    const { ledger, formatName } = this.#options;
    const record = ledger.dataset(formatName(one.planned.filesystem));
    record.target = formatName(one.planned.target);
    if (common !== null) record.newest = runVersion(common);
  }

  /** Why there is another round. */
  #reasons(): (readonly [string | null, RunError])[] {
    if (this.#failure !== null) return [[null, toRunError(this.#failure)]];
    const { formatName } = this.#options;
    return [...this.#results.values()]
      .filter(({ retryable }) => retryable)
      .map(({ planned, result }) => [formatName(planned.filesystem), errorOf(result)] as const);
  }

  #tell(event: ReplicationEvent): void {
    const { ledger, formatName } = this.#options;
    switch (event.kind) {
      case 'planned':
        ledger.tell(plannedEvent(event.plan, this.#options));
        return;
      case 'filesystemStarted':
        ledger.dataset(formatName(event.planned.filesystem)).target = formatName(event.planned.target);
        return;
      case 'stepStarted': {
        const { step, stepIndex, stepCount, resumed } = event;
        const [from, to] = [step.from?.name ?? null, step.to.name];
        const { estimatedBytes } = step;
        const dataset = formatName(event.filesystem);
        ledger.tell({ kind: 'stepBegan', dataset, from, to, stepIndex, stepCount, estimatedBytes, resumed });
        return;
      }
      case 'bytes':
        ledger.tell({ kind: 'bytes', dataset: formatName(event.filesystem), step: event.step, total: event.total });
        return;
      case 'stepDone': {
        const { bytes, notices, step } = event;
        const dataset = formatName(event.filesystem);
        ledger.tell({ kind: 'stepDone', dataset, to: runVersion(step.to), bytes, notices });
        return;
      }
      default:
    }
  }

  /** Puts the results into the ledger. */
  settle(): Pulled {
    const stall = isStall(this.#signal.reason) ? this.#signal.reason : null;
    const failure = stall ?? this.#failure;
    if (this.#results.size === 0 && failure !== null) throw failure;
    const { ledger, formatName } = this.#options;
    const report: FilesystemResult[] = [];
    for (const [name, { planned, result: last }] of this.#results) {
      const earlier = this.#earlier.get(name);
      const result = earlier === undefined ? last : sum(earlier, last);
      const dataset = formatName(planned.filesystem);
      const record = ledger.dataset(dataset);
      record.steps += result.steps;
      record.bytes += result.bytes;
      for (const notice of result.notices) ledger.notice(dataset, notice);
      if (!result.ok)
        ledger.fail(dataset, stall !== null && result.code === 'CANCELLED' ? toRunError(stall) : errorOf(result));
      report.push(result);
    }
    const datasets = [...this.#results.values()].map(({ planned }) => planned);
    return { report: { filesystems: report }, datasets, common: this.#common };
  }
}

/**
 * Says what {@link pullDatasets} would do, in an event and in the ledger, and changes nothing.
 * @param willHaveSnapshot whether a real run would take a snapshot of each dataset first
 * @throws SnapferryError when there is no connection, or the datasets cannot be listed
 */
export async function planDatasets(options: PullOptions, signal: AbortSignal, willHaveSnapshot = false): Promise<void> {
  const { ledger, formatName, initialReplication } = options;
  const client: RPCRequester = await options.connect(signal);
  try {
    const policy = initialReplication === 'all' ? 'all' : 'most_recent';
    const plan = await planReplication({ ...options, client, signal, policy });
    ledger.tell(plannedEvent(plan, options));
    for (const planned of plan.filesystems) {
      const { filesystem, target, plan: one } = planned;
      const dataset = formatName(filesystem);
      const record = ledger.dataset(dataset);
      record.target = formatName(target);
      if (one.kind === 'in_sync') record.newest = runVersion(one.version);
      const error = planError(planned, options);
      if (one.kind === 'empty' && willHaveSnapshot)
        ledger.notice(dataset, 'the new snapshot would be sent, the first one of all');
      else if (error !== null) ledger.fail(dataset, error);
    }
  } finally {
    await client.close().catch(() => undefined);
  }
}

type PlanOptions = Pick<PullOptions, 'formatName' | 'initialReplication'>;

function plannedEvent(plan: ReplicationPlan, options: PlanOptions) {
  const { formatName } = options;
  const datasets = plan.filesystems.map((planned): PlannedDataset => {
    const { filesystem, target, plan: one } = planned;
    const steps = one.kind === 'steps' ? one.steps : [];
    const known = steps.map(({ estimatedBytes }) => estimatedBytes);
    return {
      dataset: formatName(filesystem),
      target: formatName(target),
      steps: steps.length,
      estimatedBytes: known.includes(null) ? null : known.reduce<number>((all, bytes) => all + (bytes ?? 0), 0),
      error: planError(planned, options),
    };
  });
  return { kind: 'planned', datasets, estimatedBytes: plan.estimatedBytes } as const;
}

function planError(planned: PlannedFilesystem, options: PlanOptions): RunError | null {
  const { plan, filesystem } = planned;
  if (plan.kind === 'failed') return toRunError(plan.error);
  if (plan.kind !== 'conflict') return refusalOf(planned, options);
  return { code: conflictCode, message: describeConflict(options.formatName(filesystem), plan.conflict) };
}

function errorOf({ code, message }: FilesystemResult): RunError {
  return { code: code ?? 'INTERNAL', message };
}

function isDeadly(code: string | null): boolean {
  return ['CONNECTION_LOST', 'STREAM_TRUNCATED', 'PEER_SILENT', 'TIMEOUT', 'CONNECT_FAILED'].includes(code ?? '');
}

/** What two rounds have come to together: the verdict is that of the later one. */
function sum(earlier: FilesystemResult, later: FilesystemResult): FilesystemResult {
  return {
    ...later,
    notices: [...earlier.notices, ...later.notices],
    bytes: earlier.bytes + later.bytes,
    steps: earlier.steps + later.steps,
  };
}
