import { constants } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { toSnapferryError } from '../errors.ts';
import type { RunResult } from '../jobs/run-result.ts';
import { compactHistory, historyBoundsDefault } from './history-compaction.ts';
import type { HistoryBounds } from './history-compaction.ts';
import type { HistoryFold } from './history-fold.ts';
import { writeHistoryLine } from './history-record.ts';
import type { BegunRun, HistoryRecord } from './history-record.ts';
import { historyPath, readHistory } from './read-history.ts';
import type { ReadHistory } from './read-history.ts';

/** Lines after which the history is looked over for what need not be kept. */
const linesBetweenCompactions = 2000;

/** Results that could not be written wait for the next attempt; more than so many are let go, the oldest first. */
const waitingLinesMax = 1000;

/**
 * The history of runs: one line of JSON for each that began and for each that is over, durable when the call that adds it resolves.
 * There must be one writer only; the owner holds the lock of the state directory.
 */
export class History implements AsyncDisposable {
  /** What the file said when it was opened. */
  readonly found: HistoryFold;
  /** What a person should know about how it was read: lines that could not be, and where they are now. */
  readonly notices: readonly string[];
  readonly #path: string;
  readonly #unreadablePath: string;
  readonly #bounds: HistoryBounds;
  #file: FileHandle;
  #waiting: string[] = [];
  #lines = 0;
  #turn: Promise<void> = Promise.resolve();

  private constructor(stateDir: string, file: FileHandle, read: ReadHistory, bounds: HistoryBounds) {
    this.#path = historyPath(stateDir);
    this.#unreadablePath = unreadablePath(stateDir);
    this.#bounds = bounds;
    this.#file = file;
    this.found = read.fold;
    this.notices = read.notices;
  }

  /**
   * Opens the history in a state directory, which is made if need be. What can be read of a damaged file is used; what cannot is
   * put aside and said in {@link notices}. The caller closes it.
   * @throws SnapferryError `INTERNAL` when the directory or file cannot be used
   */
  static async open(stateDir: string, bounds: Partial<HistoryBounds> = {}): Promise<History> {
    const path = historyPath(stateDir);
    const all = { ...historyBoundsDefault, ...bounds };
    try {
      await mkdir(stateDir, { recursive: true, mode: 0o700 });
      await (await openForAppending(path)).close();
      const read = await readHistory(stateDir);
      const notices = read.notices.map((notice) => `${notice}; it is kept in ${unreadablePath(stateDir)}`);
      await compactHistory(path, unreadablePath(stateDir), all);
      return new History(stateDir, await openForAppending(path), { ...read, notices }, all);
    } catch (error) {
      throw toSnapferryError(error, 'INTERNAL', `open the history of runs ${path}`);
    }
  }

  /**
   * Adds that a run has begun.
   * @throws SnapferryError as {@link ended} does
   */
  began(run: BegunRun): Promise<void> {
    return this.#add({ began: run });
  }

  /**
   * Adds a run that is over.
   * @throws SnapferryError `INTERNAL` when it cannot be written, such as on a full disk; it is kept in memory and tried again with
   * the next one
   */
  ended(result: RunResult): Promise<void> {
    return this.#add({ ended: result });
  }

  /** Waits for what is being written, and closes the file. Idempotent, never rejects. */
  async close(): Promise<void> {
    await this.#turn;
    await this.#file.close().catch(() => undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #add(record: HistoryRecord): Promise<void> {
    const before = this.#turn;
    const mine = (async () => {
      await before;
      this.#waiting.push(writeHistoryLine(record));
      if (this.#waiting.length > waitingLinesMax) this.#waiting.shift();
      await this.#write();
    })();
    this.#turn = mine.catch(() => undefined);
    await mine;
  }

  async #write(): Promise<void> {
    try {
      const { size } = await this.#file.stat();
      try {
        await this.#file.appendFile(this.#waiting.join(''));
        await this.#file.datasync();
      } catch (error) {
        // Half a line must not be the beginning of the next one.
        await this.#file.truncate(size).catch(() => undefined);
        throw error;
      }
      this.#lines += this.#waiting.length;
      this.#waiting = [];
      if (this.#lines >= linesBetweenCompactions) await this.#compact();
    } catch (error) {
      throw toSnapferryError(error, 'INTERNAL', `add to the history of runs ${this.#path}`);
    }
  }

  async #compact(): Promise<void> {
    this.#lines = 0;
    await compactHistory(this.#path, this.#unreadablePath, this.#bounds);
    const file = await openForAppending(this.#path);
    await this.#file.close();
    this.#file = file;
  }
}

function unreadablePath(stateDir: string): string {
  return join(stateDir, 'history-unreadable.ndjson');
}

async function openForAppending(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND, 0o600);
}
