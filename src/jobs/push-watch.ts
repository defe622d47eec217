import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { createProgressMeter } from '../replication/progress.ts';
import type { ProgressMeter } from '../replication/progress.ts';
import type { Transfer } from '../rpc/interfaces.ts';
import type { Clock } from './clock.ts';
import type { PushedStep } from './pushed-source.ts';
import { runVersion } from './run-ledger.ts';
import type { RunLedger } from './run-ledger.ts';

/** As with a pull: a few events per second. */
const bytesEventMs = 200;

/** What a {@link PushWatch} needs. */
export interface PushWatchOptions {
  readonly formatName: (dataset: DatasetPath) => string;
  readonly initialReplication: 'most_recent' | 'all' | 'fail';
  readonly ledger: RunLedger;
  readonly clock: Clock;
  /** Of all transfers together. */
  readonly meter: ProgressMeter;
}

/** What is known of one dataset. */
interface Seen {
  /** Snapshots that can be sent, oldest first. */
  wanted: readonly FilesystemVersion[];
  step: { readonly to: FilesystemVersion; readonly meter: ProgressMeter; bytes: number } | null;
  stepIndex: number;
  /** Transfers that have arrived for good, and payload that has gone out. */
  steps: number;
  bytes: number;
  newest: FilesystemVersion | null;
  toldMs: number;
}

/** Makes the events of a push out of what the other side asks for: it is the one that has the plan. */
export class PushWatch {
  /** Guid of the newest version that the other side is known to have, by the name of a dataset as `formatDatasetPath` writes it. */
  readonly common = new Map<string, bigint>();
  readonly #options: PushWatchOptions;
  readonly #seen = new Map<string, Seen>();

  constructor(options: PushWatchOptions) {
    this.#options = options;
  }

  /** Whether the other side has asked for it at all. */
  knows(dataset: DatasetPath): boolean {
    return this.#seen.has(formatDatasetPath(dataset));
  }

  /** Whether there is nothing of it that could be sent. False as long as nobody has asked. */
  hasNothing(dataset: DatasetPath): boolean {
    return this.#seen.get(formatDatasetPath(dataset))?.wanted.length === 0;
  }

  /** What has been sent of it, also over connections that broke. */
  sum(dataset: DatasetPath): { readonly steps: number; readonly bytes: number } {
    const { steps = 0, bytes = 0 } = this.#seen.get(formatDatasetPath(dataset)) ?? {};
    return { steps, bytes };
  }

  /** The newest version that the other side has told to have for good. */
  newest(dataset: DatasetPath): FilesystemVersion | null {
    return this.#seen.get(formatDatasetPath(dataset))?.newest ?? null;
  }

  /** The other side was told what there is. */
  listed(dataset: DatasetPath, versions: readonly FilesystemVersion[]): void {
    const { ledger, formatName } = this.#options;
    ledger.dataset(formatName(dataset));
    const seen = this.#of(dataset);
    seen.wanted = versions.filter(({ type }) => type === 'snapshot');
    seen.stepIndex = 0;
  }

  /** A transfer begins. */
  began(dataset: DatasetPath, { from, to }: PushedStep, { estimatedBytes, resumed }: Transfer): void {
    const { ledger, formatName, clock } = this.#options;
    const seen = this.#of(dataset);
    seen.step = { to, bytes: 0, meter: createProgressMeter({ estimatedBytes, now: () => clock.monotonicMs() }) };
    const stepIndex = seen.stepIndex++;
    ledger.tell({
      kind: 'stepBegan',
      dataset: formatName(dataset),
      from: from?.name ?? null,
      to: to.name,
      stepIndex,
      stepCount: Math.max(stepIndex + 1, stepIndex + this.#stepsFrom(seen, { from, to })),
      estimatedBytes,
      resumed,
    });
  }

  /** Payload has gone out. */
  sent(dataset: DatasetPath, bytes: number): void {
    const { ledger, formatName, clock, meter } = this.#options;
    const seen = this.#of(dataset);
    meter.add(bytes);
    seen.bytes += bytes;
    if (seen.step === null) return;
    seen.step.meter.add(bytes);
    seen.step.bytes += bytes;
    const nowMs = clock.monotonicMs();
    if (nowMs - seen.toldMs < bytesEventMs) return;
    seen.toldMs = nowMs;
    ledger.tell({ kind: 'bytes', dataset: formatName(dataset), step: seen.step.meter.read(), total: meter.read() });
  }

  /** The other side has it for good. @returns whether it is what was just sent */
  completed(dataset: DatasetPath, version: FilesystemVersion): boolean {
    const { ledger, formatName } = this.#options;
    const seen = this.#of(dataset);
    // It is asked to tell a version of ours, but it could tell anything.
    const own = seen.wanted.find(({ guid }) => guid === version.guid) ?? null;
    if (own !== null) {
      seen.newest = own;
      this.common.set(formatDatasetPath(dataset), own.guid);
    }
    const { step } = seen;
    if (step?.to.guid !== version.guid) return false;
    seen.step = null;
    seen.steps += 1;
    ledger.tell({
      kind: 'stepDone',
      dataset: formatName(dataset),
      to: runVersion(step.to),
      bytes: step.bytes,
      notices: [],
    });
    return true;
  }

  /** How many transfers there are from this one on, if the other side wants every snapshot after the base. */
  #stepsFrom({ wanted }: Seen, { from, to }: PushedStep): number {
    const index = wanted.findIndex(({ guid }) => guid === to.guid);
    return from === null && this.#options.initialReplication !== 'all' ? 1 : index < 0 ? 1 : wanted.length - index;
  }

  #of(dataset: DatasetPath): Seen {
    const key = formatDatasetPath(dataset);
    let seen = this.#seen.get(key);
    if (seen === undefined) {
      seen = { wanted: [], step: null, stepIndex: 0, steps: 0, bytes: 0, newest: null, toldMs: -Infinity };
      this.#seen.set(key, seen);
    }
    return seen;
  }
}
