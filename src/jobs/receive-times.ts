import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { toSnapferryError } from '../errors.ts';
import type { Logger } from '../rpc/interfaces.ts';
import type { Clock } from './clock.ts';

/** Lines that no longer tell anything, beyond as many as do, before the file is written anew. */
const staleLinesMax = 1000;

/**
 * When versions were received, by this machine's clock: what a retention floor goes by where the backend does not know it. A file to
 * which lines are only ever appended, each on disk before the next step of a transfer begins; a line that was cut off by a crash is passed
 * over. Nothing is held open. One process at a time.
 */
export class ReceiveTimes {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** By dataset, by guid. */
  #times: Map<string, Map<bigint, string>> | null = null;
  #lines = 0;
  #work: Promise<unknown> = Promise.resolve();

  constructor(path: string, { clock, logger }: { readonly clock: Clock; readonly logger: Logger }) {
    this.#path = path;
    this.#clock = clock;
    this.#logger = logger;
  }

  /**
   * Reads what other runs have noted. To be called before anything else, once the file is this process's own.
   * @throws SnapferryError `INTERNAL` if the file cannot be read
   */
  load(): Promise<void> {
    return this.#inTurn(async () => {
      const times = new Map<string, Map<bigint, string>>();
      const lines = (await readIfThere(this.#path)).split('\n').filter((line) => line !== '');
      for (const line of lines) {
        const note = parseNote(line);
        if (note !== null) noteInto(times, note);
      }
      this.#times = times;
      this.#lines = lines.length;
    });
  }

  /**
   * Notes that a version has arrived now. Resolves when that is on disk.
   * @throws SnapferryError `INTERNAL` if it cannot be written
   */
  note(dataset: DatasetPath, guid: bigint): Promise<void> {
    const note = { dataset: formatDatasetPath(dataset), guid, at: new Date(this.#clock.nowMs()).toISOString() };
    return this.#inTurn(async () => {
      if (this.#times !== null) noteInto(this.#times, note);
      // A line that a crash has cut off ends here.
      await appendDurably(this.#path, `${this.#lines === 0 ? '' : '\n'}${formatNote(note)}\n`);
      this.#lines += 1;
    });
  }

  /** When a version was received, RFC 3339; null when that was not noted. */
  of(dataset: DatasetPath, guid: bigint): string | null {
    return this.#times?.get(formatDatasetPath(dataset))?.get(guid) ?? null;
  }

  /** Forgets versions of a dataset that are no more. The file follows when it is worth it. Never rejects. */
  async keepOnly(dataset: DatasetPath, guids: ReadonlySet<bigint>): Promise<void> {
    const known = this.#times?.get(formatDatasetPath(dataset));
    if (known === undefined) return;
    for (const guid of known.keys()) if (!guids.has(guid)) known.delete(guid);
    const notes = [...(this.#times ?? [])].flatMap(([name, times]) =>
      [...times].map(([guid, at]) => formatNote({ dataset: name, guid, at })),
    );
    if (this.#lines < 2 * notes.length + staleLinesMax) return;
    await this.#inTurn(async () => {
      await replaceDurably(this.#path, notes.map((note) => `${note}\n`).join(''));
      this.#lines = notes.length;
    }).catch((error: unknown) => this.#logger.warn({ err: error }, 'the times of receipt could not be written anew'));
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const result = this.#work.then(work).catch((error: unknown) => {
      throw toSnapferryError(error, 'INTERNAL', `keeping times of receipt in ${this.#path}`);
    });
    this.#work = result.catch(() => undefined);
    return result;
  }
}

interface Note {
  readonly dataset: string;
  readonly guid: bigint;
  /** RFC 3339 */
  readonly at: string;
}

function formatNote({ dataset, guid, at }: Note): string {
  return JSON.stringify({ dataset, guid: String(guid), at });
}

function parseNote(line: string): Note | null {
  try {
    const { dataset, guid, at } = JSON.parse(line) as { dataset?: unknown; guid?: unknown; at?: unknown };
    const isNote =
      typeof dataset === 'string' && typeof guid === 'string' && /^\d{1,20}$/.test(guid) && typeof at === 'string';
    return isNote ? { dataset, guid: BigInt(guid), at } : null;
  } catch {
    return null;
  }
}

function noteInto(times: Map<string, Map<bigint, string>>, { dataset, guid, at }: Note): void {
  const known = times.get(dataset) ?? new Map<bigint, string>();
  times.set(dataset, known.set(guid, at));
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

async function appendDurably(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, 'a', 0o600);
  try {
    await file.writeFile(text);
    await file.datasync();
  } finally {
    await file.close();
  }
}

async function replaceDurably(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  try {
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(text);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
