import { isErrorCode } from '../../errors.ts';

/** What stands for everything beyond a bound. */
export const otherLabel = '(other)';

/**
 * Labels of a dataset. Prometheus gives the label `job` to everything it scrapes, and would rename ours. Two clients of a sink may have some of the same name; elsewhere `client` is empty, which is as good as
 * no label.
 */
export const datasetLabels = ['snapferry_job', 'client', 'dataset'] as const;

/**
 * The code of an error as the value of a label. A peer may send codes we do not know, as many as it likes, and each would be a time
 * series for ever.
 */
export function codeLabel(code: string): string {
  return isErrorCode(code) || code === 'CONFLICT' || code === 'STALE' ? code : otherLabel;
}

/** Lets the first so many datasets of each job through, for ever; all others are one. */
export class BoundedDatasets {
  readonly #datasetsPerJobMax: number;
  readonly #known = new Map<string, Set<string>>();

  constructor(datasetsPerJobMax: number) {
    this.#datasetsPerJobMax = datasetsPerJobMax;
  }

  /** The labels for this dataset. */
  labels(job: string, client: string | null, dataset: string): Record<(typeof datasetLabels)[number], string> {
    const known = this.#known.get(job) ?? new Set();
    this.#known.set(job, known);
    const key = JSON.stringify([client, dataset]);
    if (!known.has(key) && known.size >= this.#datasetsPerJobMax)
      return { snapferry_job: job, client: '', dataset: otherLabel };
    known.add(key);
    return { snapferry_job: job, client: client ?? '', dataset };
  }
}
