import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { toSnapferryError } from '../errors.ts';
import { acquireLock } from '../handlers/lock.ts';
import type { Lock } from '../handlers/lock.ts';

/** How long another process is waited for; by default not at all. */
export interface LockWaiting {
  readonly waitMs?: number;
  readonly signal?: AbortSignal;
}

/** Ends a use of the lock. Never rejects. */
export type ReleaseLock = () => Promise<void>;

/**
 * Keeps runs of one job in different processes apart: the daemon, and `snapferry run`. Within this process any number may use it at the
 * same time.
 */
export class JobLock {
  readonly #directory: string;
  readonly #job: string;
  #users = 0;
  #held: Promise<Lock> | null = null;

  /** @param stateDir of the configuration; made if need be */
  constructor(stateDir: string, job: string) {
    this.#directory = join(stateDir, 'locks');
    this.#job = job;
  }

  /**
   * @param onTaken work for the first of those that use it at the same time, done before anybody else goes on
   * @throws SnapferryError `BUSY` naming the process that runs it; `CANCELLED`; `INTERNAL` if there can be no lock
   */
  async acquire(onTaken: () => Promise<void>, waiting: LockWaiting = {}): Promise<ReleaseLock> {
    this.#users += 1;
    try {
      this.#held ??= this.#take(onTaken, waiting);
      await this.#held;
    } catch (error) {
      await this.#leave();
      throw error;
    }
    let isOver = false;
    return async () => {
      if (isOver) return;
      isOver = true;
      await this.#leave();
    };
  }

  async #take(onTaken: () => Promise<void>, waiting: LockWaiting): Promise<Lock> {
    const what = `the job ${this.#job}`;
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      const lock = await acquireLock(join(this.#directory, `${this.#job}.lock`), { what, ...waiting });
      await onTaken().catch(async (error: unknown) => {
        await lock.release();
        throw error;
      });
      return lock;
    } catch (error) {
      throw toSnapferryError(error, 'INTERNAL', `${what} needs a lock in ${this.#directory} (state_dir)`);
    }
  }

  async #leave(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    const held = this.#held;
    this.#held = null;
    await held?.then((lock) => lock.release()).catch(() => undefined);
  }
}
