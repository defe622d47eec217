import fc from 'fast-check';
import type { Draw } from './fuzz-frames.ts';
import { drawsArbitrary, type FuzzTarget } from './fuzz-targets.ts';

/** How much to fuzz, and from which seed. */
export interface FuzzRunOptions {
  readonly seed: number;
  /** Stops at the end of the batch in which so many spoilt frames were worked on. */
  readonly framesMin: number;
  /** Called after each batch of runs. */
  readonly onProgress?: (progress: { readonly frames: number }) => void;
}

/** What came of it. */
export interface FuzzResult {
  readonly frames: number;
  readonly runs: number;
  /** The smallest input found that breaks what must hold, and what it breaks. */
  readonly failure: { readonly draws: readonly Draw[]; readonly message: string } | null;
}

const runsPerBatch = 1000;

/** Fuzzes one target in batches of runs, each with a seed that follows from the given one. */
export async function runFuzz(target: FuzzTarget, options: FuzzRunOptions): Promise<FuzzResult> {
  let frames = 0;
  let runs = 0;
  for (let batch = 0; frames < options.framesMin; batch++) {
    const property = fc.asyncProperty(drawsArbitrary, async (draws) => {
      frames += await target.check(draws);
    });
    const numRuns = Math.min(runsPerBatch, Math.max(50, Math.ceil((options.framesMin - frames) / 10)));
    const details = await fc.check(property, { seed: options.seed + batch, numRuns });
    runs += details.numRuns;
    if (details.failed) {
      const draws = details.counterexample?.[0] ?? [];
      return { frames, runs, failure: { draws, message: String(details.errorInstance) } };
    }
    options.onProgress?.({ frames });
  }
  return { frames, runs, failure: null };
}
