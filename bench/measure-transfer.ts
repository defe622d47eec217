import type { AskingOptions } from './ends/end-options.ts';
import type { Comparison, Figure, Sample, Settings } from './question.ts';
import { runEnds } from './run-ends.ts';

/** Units of size. */
export const kibibyte = 1024;
export const mebibyte = 1024 * kibibyte;
export const gibibyte = 1024 * mebibyte;

/** What {@link measureTransfer} measures. */
export const transferFigures: readonly Figure[] = [
  { name: 'MB/s', better: 'more', digits: 0 },
  { name: 'CPU s/GiB', better: 'less', digits: 3 },
  { name: 'asking', better: 'less', digits: 3 },
  { name: 'answering', better: 'less', digits: 3 },
  { name: 'RSS MiB', better: 'less', digits: 0 },
];

/** Which of {@link transferFigures} is the cost. */
export const transferCost = 'CPU s/GiB';

/** What is asked about a transfer, beside what its runner chooses. */
export type TransferOptions = Omit<AskingOptions, 'socketPath' | 'profileFolder' | 'measure' | 'warmUpUnits'>;

/** Transfers `options.units` bytes once between two fresh ends, after an eighth of it to warm up. */
export async function measureTransfer(settings: Settings, name: string, options: TransferOptions): Promise<Sample> {
  const { units } = options;
  const { seconds, asking, answering } = await runEnds(settings, name, {
    ...options,
    measure: 'transfer',
    warmUpUnits: Math.ceil(units / 8),
  });
  const perGibibyte = (cpuMicros: number): number => cpuMicros / 1e6 / (units / gibibyte);
  return {
    'MB/s': units / 1e6 / seconds,
    'CPU s/GiB': perGibibyte(asking.cpuMicros + answering.cpuMicros),
    asking: perGibibyte(asking.cpuMicros),
    answering: perGibibyte(answering.cpuMicros),
    'RSS MiB': Math.max(asking.residentKibMax, answering.residentKibMax) / kibibyte,
  };
}

/** A comparison of speeds. */
export function faster(contender: string, against: string, mustReach: number | null): Comparison {
  return { contender, against, figure: 'MB/s', mustReach };
}

/** A comparison of processor time. */
export function cheaper(contender: string, against: string, mustReach: number | null): Comparison {
  return { contender, against, figure: 'CPU s/GiB', mustReach };
}
