import type { ReplicationSettings } from '../config/transfer-settings.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import type { SnapferryError } from '../errors.ts';
import { toSnapferryError } from '../errors.ts';
import { createProgressMeter } from '../replication/progress.ts';
import { conflictCode } from '../replication/replication.ts';
import type { FilesystemResult, Logger, RPCHandler, RPCRequester } from '../rpc/interfaces.ts';
import { toldAttempts, whileMoving } from './attempts.ts';
import type { Attempt } from './attempts.ts';
import type { Clock } from './clock.ts';
import { PushWatch } from './push-watch.ts';
import { pushedSource } from './pushed-source.ts';
import { initialRefusal, isStall } from './replicate-round.ts';
import { isRetryableCode, toRunError } from './run-error.ts';
import { runVersion } from './run-ledger.ts';
import type { RunLedger } from './run-ledger.ts';
import type { RunError } from './run-result.ts';
import { selectedSource } from './selected-source.ts';
import { watchedTransfers } from './watched-transfers.ts';

/** What a push needs. */
export interface PushOptions {
  readonly connect: (signal: AbortSignal) => Promise<RPCRequester>;
  /** Offers the datasets, and nothing else: the other side is not trusted. */
  readonly source: RPCHandler;
  readonly datasets: readonly DatasetPath[];
  readonly formatName: (dataset: DatasetPath) => string;
  readonly jobId: string;
  readonly initialReplication: 'most_recent' | 'all' | 'fail';
  readonly isWanted: (snapshot: FilesystemVersion) => boolean;
  readonly settings: ReplicationSettings;
  readonly ledger: RunLedger;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Has the other side brought up to date: it pulls, over connections that are made here. Datasets are dealt out to as many connections as
 * may be. What failed for a reason that may pass, or was cut off, is offered again.
 * @returns by the name of a dataset, as `formatDatasetPath` writes it: guid of the newest version that both sides are known to have
 * @throws SnapferryError when nothing came about at all, even after all attempts
 */
export async function pushDatasets(options: PushOptions, signal: AbortSignal): Promise<ReadonlyMap<string, bigint>> {
  const { clock, settings, jobId } = options;
  const watched = { clock, signal, stallMsMax: settings.stallMsMax, what: `the job ${jobId}` };
  return whileMoving(watched, async (moving, onMove) => new Push(options, moving, onMove).carryOut());
}

/** What is known of a dataset that is offered. */
interface Offered {
  readonly dataset: DatasetPath;
  readonly name: string;
  /** Null: nothing has been said of it. */
  result: { readonly error: RunError | null; readonly retryable: boolean } | null;
  isInitialRefused: boolean;
}

class Push {
  readonly #options: PushOptions;
  readonly #signal: AbortSignal;
  readonly #onMove: () => void;
  readonly #offered: ReadonlyMap<string, Offered>;
  readonly #watch: PushWatch;
  #failure: SnapferryError | null = null;
  #hasArrived = false;

  constructor(options: PushOptions, signal: AbortSignal, onMove: () => void) {
    this.#options = options;
    this.#signal = signal;
    this.#onMove = onMove;
    this.#offered = new Map(
      options.datasets.map((dataset) => {
        const name = options.formatName(dataset);
        return [formatDatasetPath(dataset), { dataset, name, result: null, isInitialRefused: false }];
      }),
    );
    const meter = createProgressMeter({ estimatedBytes: null, now: () => options.clock.monotonicMs() });
    this.#watch = new PushWatch({ ...options, meter });
  }

  async carryOut(): Promise<ReadonlyMap<string, bigint>> {
    const failure = await toldAttempts(() => this.#attempt(), {
      ...this.#options,
      signal: this.#signal,
      onMove: this.#onMove,
      reasons: () => this.#reasons(),
    });
    this.#failure = failure ?? this.#failure;
    this.#settle();
    return this.#watch.common;
  }

  async #attempt(): Promise<Attempt> {
    this.#failure = null;
    this.#hasArrived = false;
    const left = this.#left();
    const shares = deal(left, this.#options.settings.concurrency.steps);
    const outcomes = await Promise.allSettled(shares.map((share) => this.#push(share)));
    const failures = outcomes.flatMap((outcome) =>
      outcome.status === 'rejected' ? [toSnapferryError(outcome.reason, 'INTERNAL', 'pushing')] : [],
    );
    this.#failure = failures[0] ?? null;
    const isHopeless = failures.length > 0 && failures.every(({ retryable }) => !retryable);
    return { isLeft: this.#left().length > 0 && !isHopeless, hasArrived: this.#hasArrived };
  }

  /** What nothing has been said of, or nothing final. */
  #left(): Offered[] {
    return [...this.#offered.values()].filter(({ result }) => result === null || result.retryable);
  }

  async #push(share: readonly Offered[]): Promise<void> {
    const { connect, initialReplication } = this.#options;
    const names = new Set(share.map(({ dataset }) => formatDatasetPath(dataset)));
    const client = await connect(this.#signal);
    this.#onMove();
    try {
      const report = await client.pullMe(
        { initialReplicationPolicy: initialReplication === 'all' ? 'all' : 'most_recent' },
        this.#handlerFor((dataset) => names.has(formatDatasetPath(dataset))),
        { signal: this.#signal },
      );
      this.#onMove();
      for (const offered of share)
        this.#conclude(offered, report === null ? 'unknown' : findResult(report.filesystems, offered));
    } finally {
      if (isStall(this.#signal.reason)) client.forceClose();
      await client.close().catch(() => undefined);
    }
  }

  #handlerFor(isOffered: (dataset: DatasetPath) => boolean): RPCHandler {
    const { source, jobId, isWanted, initialReplication, formatName } = this.#options;
    const shown = pushedSource(selectedSource(source, isOffered), {
      jobId,
      isWanted,
      refusesInitial: initialReplication === 'fail',
      formatName,
      onVersions: (dataset, versions) => {
        this.#onMove();
        this.#watch.listed(dataset, versions);
      },
      onTransfer: (dataset, step, transfer) => this.#watch.began(dataset, step, transfer),
      onCompleted: (dataset, version) => {
        this.#onMove();
        if (this.#watch.completed(dataset, version)) this.#hasArrived = true;
      },
      onInitialRefused: (dataset) => {
        const offered = this.#offered.get(formatDatasetPath(dataset));
        if (offered !== undefined) offered.isInitialRefused = true;
      },
    });
    return watchedTransfers(shown, {
      onBytes: (bytes, request) => {
        this.#onMove();
        this.#watch.sent(request.filesystem, bytes);
      },
    });
  }

  /** What the other side reports counts, but for what is known better here. */
  #conclude(offered: Offered, said: FilesystemResult | 'unknown' | null): void {
    const { dataset, name } = offered;
    const { ledger } = this.#options;
    const fail = (code: string, message: string, retryable = false): void => {
      offered.result = { error: { code, message }, retryable };
    };
    if (said !== 'unknown' && said !== null) {
      for (const notice of said.notices) ledger.notice(name, notice);
    }
    if (this.#watch.hasNothing(dataset)) {
      fail('VERSION_NOT_FOUND', `there is no snapshot of ${name} that could be sent; take one`);
    } else if (offered.isInitialRefused) {
      fail(conflictCode, initialRefusal(name));
    } else if (said === null) {
      fail('ACCESS_DENIED', `the other side left ${name} out of its report, so it was not stored; see its log`);
    } else if (said === 'unknown' || said.ok) {
      offered.result = { error: null, retryable: false };
    } else {
      // What was cancelled, and not by us, was so by a sink that is being stopped.
      const isTheirs = said.code === 'CANCELLED' && !this.#signal.aborted;
      fail(said.code ?? 'INTERNAL', said.message, isTheirs || isRetryableCode(said.code));
    }
  }

  #reasons(): (readonly [string | null, RunError])[] {
    if (this.#failure !== null) return [[null, toRunError(this.#failure)]];
    return this.#left().flatMap(({ name, result }) => (result?.error ? [[name, result.error] as const] : []));
  }

  #settle(): void {
    const { ledger } = this.#options;
    const stall = isStall(this.#signal.reason) ? this.#signal.reason : null;
    const failure = stall ?? this.#failure;
    const isUntouched = [...this.#offered.values()].every(
      ({ dataset, result }) => result === null && !this.#watch.knows(dataset),
    );
    if (failure !== null && isUntouched) throw failure;
    for (const { name, result, dataset } of this.#offered.values()) {
      const newest = this.#watch.newest(dataset);
      const record = ledger.dataset(name);
      if (newest !== null) record.newest = runVersion(newest);
      Object.assign(record, this.#watch.sum(dataset));
      // What was cut off in mid push has no report.
      if (result === null && failure !== null) ledger.fail(name, toRunError(failure));
      else if (result?.error) ledger.fail(name, stall === null ? result.error : toRunError(stall));
    }
  }
}

function findResult(results: readonly FilesystemResult[], { dataset }: Offered): FilesystemResult | null {
  const key = formatDatasetPath(dataset);
  return results.find(({ filesystem }) => formatDatasetPath(filesystem) === key) ?? null;
}

/** Into at most so many shares, none empty. */
function deal<T>(items: readonly T[], sharesMax: number): T[][] {
  const count = Math.min(sharesMax, items.length);
  return Array.from({ length: count }, (_, index) => items.filter((_item, position) => position % count === index));
}
