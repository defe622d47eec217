import type { Backend } from '../config/job.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';

/** Ends a turn. Idempotent. */
export type EndTurn = () => void;

/**
 * Who is at work on which dataset of this machine: any number may read it, or one may change it. So nothing is removed from a dataset
 * while it is replicated, by whichever job. Nobody waits here: whoever comes second does something else, or tries again.
 */
export class DatasetTurns {
  /** How many read it; -1: somebody changes it. */
  readonly #turns = new Map<string, number>();

  /** Null: somebody changes it. */
  tryRead(backend: Backend, dataset: DatasetPath): EndTurn | null {
    const key = keyOf(backend, dataset);
    const readers = this.#turns.get(key) ?? 0;
    if (readers < 0) return null;
    this.#turns.set(key, readers + 1);
    return once(() => this.#leave(key, 1));
  }

  /** Null: somebody reads or changes it. */
  tryChange(backend: Backend, dataset: DatasetPath): EndTurn | null {
    const key = keyOf(backend, dataset);
    if (this.#turns.has(key)) return null;
    this.#turns.set(key, -1);
    return once(() => this.#leave(key, -1));
  }

  #leave(key: string, weight: number): void {
    const left = (this.#turns.get(key) ?? 0) - weight;
    if (left === 0) this.#turns.delete(key);
    else this.#turns.set(key, left);
  }
}

function keyOf(backend: Backend, dataset: DatasetPath): string {
  return `${backend} ${formatDatasetPath(dataset)}`;
}

function once(end: () => void): EndTurn {
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    end();
  };
}
