import type { Step } from './plan.ts';
import { createProgressMeter } from './progress.ts';
import type { TransferProgress } from './progress.ts';
import type { ReplicationPlan } from './replication.ts';

/** The progress of a whole run, whose expectation becomes better with every step that begins or ends. */
export interface RunProgress {
  /** The plan is known. */
  planned(plan: ReplicationPlan): void;
  /** The source announced a better estimate for a step; null is no news. */
  announced(step: Step, estimatedBytes: number | null): void;
  add(bytes: number): void;
  /** A step is over, or will not run: it took this many bytes in all. */
  settled(step: Step, bytes: number): void;
  read(): TransferProgress;
}

/** @param now the clock, in ms */
export function createRunProgress(now: () => number): RunProgress {
  const meter = createProgressMeter({ estimatedBytes: null, now });
  const expected = new Map<Step, number | null>();
  let sum = 0;
  let unknown = 0;

  const expect = (step: Step, bytes: number | null) => {
    const before = expected.get(step);
    if (before === null) unknown -= 1;
    else sum -= before ?? 0;
    if (bytes === null) unknown += 1;
    else sum += bytes;
    expected.set(step, bytes);
  };
  const tell = () => meter.expect(unknown > 0 ? null : sum);

  return {
    planned(plan) {
      for (const { plan: one } of plan.filesystems) {
        for (const step of one.kind === 'steps' ? one.steps : []) expect(step, step.estimatedBytes);
      }
      tell();
    },
    announced(step, estimatedBytes) {
      if (estimatedBytes === null) return;
      expect(step, estimatedBytes);
      tell();
    },
    add: (bytes) => meter.add(bytes),
    settled(step, bytes) {
      expect(step, bytes);
      tell();
    },
    read: () => meter.read(),
  };
}
