/** How far a transfer is. Whatever is unknown is null, never 0. */
export interface TransferProgress {
  /** Payload bytes received so far. */
  readonly bytes: number;
  /** Payload bytes expected in all; null when unknown. */
  readonly estimatedBytes: number | null;
  /** Part done, 0 to 1, never more, also when more bytes came than were expected; null when unknown. */
  readonly fraction: number | null;
  /** Over the last few seconds; null until enough has been seen to tell. */
  readonly bytesPerSecond: number | null;
  /** Until the expected bytes are here at the present rate; null when unknown, also when more came than expected. */
  readonly remainingMs: number | null;
}

/** Measures one transfer, or several in a row. */
export interface ProgressMeter {
  /** Counts payload bytes that have just arrived. */
  add(bytes: number): void;
  /** Replaces the expectation; null for unknown. */
  expect(estimatedBytes: number | null): void;
  /** The state at this moment: during a stall the rate falls although nothing is added. */
  read(): TransferProgress;
}

/** What {@link createProgressMeter} takes. */
export interface ProgressMeterOptions {
  readonly estimatedBytes: number | null;
  /** The clock, in ms. One that jumps back is taken as standing still. */
  readonly now: () => number;
  /** How far back the rate looks. Default 10 s. */
  readonly windowMs?: number;
}

interface Sample {
  readonly atMs: number;
  /** Bytes counted before this moment. */
  readonly bytes: number;
}

const windowMsDefault = 10_000;
const samplesPerWindow = 20;

/** A meter with a sliding window of bounded size, whatever the number of pieces. Pure but for the clock. */
export function createProgressMeter(options: ProgressMeterOptions): ProgressMeter {
  const windowMs = options.windowMs ?? windowMsDefault;
  const intervalMs = windowMs / samplesPerWindow;
  let bytes = 0;
  let estimatedBytes = options.estimatedBytes;
  let clockMs = -Infinity;
  const now = () => (clockMs = Math.max(clockMs, options.now()));
  const samples: Sample[] = [{ atMs: now(), bytes: 0 }];

  const sample = (): number => {
    const atMs = now();
    const newest = samples.at(-1);
    if (newest === undefined || atMs - newest.atMs >= intervalMs) samples.push({ atMs, bytes });
    let second = samples[1];
    while (second !== undefined && second.atMs <= atMs - windowMs) {
      samples.shift();
      second = samples[1];
    }
    return atMs;
  };

  return {
    add(count) {
      sample();
      bytes += count;
    },
    expect(estimate) {
      estimatedBytes = estimate;
    },
    read() {
      const atMs = sample();
      const oldest = samples[0] ?? { atMs, bytes };
      const elapsedMs = atMs - oldest.atMs;
      const bytesPerSecond = elapsedMs < intervalMs ? null : ((bytes - oldest.bytes) * 1000) / elapsedMs;
      const missing = estimatedBytes === null ? null : estimatedBytes - bytes;
      return {
        bytes,
        estimatedBytes,
        fraction: estimatedBytes === null ? null : estimatedBytes <= bytes ? 1 : bytes / estimatedBytes,
        bytesPerSecond,
        remainingMs:
          missing === null || missing < 0 || bytesPerSecond === null || bytesPerSecond === 0
            ? null
            : (missing * 1000) / bytesPerSecond,
      };
    },
  };
}
