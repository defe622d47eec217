import { readFile, rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { isErrno, replaceDurably } from '../../handlers/directory/store-files.ts';
import type { Logger } from '../../rpc/interfaces.ts';
import type { ToldState } from './told-book.ts';
import type { Trouble } from './trouble.ts';

/** What a daemon remembers so that the next one tells nothing twice and forgets nothing. Plain data. */
export interface NotifyState {
  readonly version: 1;
  /** Job to the newest of its runs that was looked at. */
  readonly runs: Readonly<Record<string, string>>;
  readonly troubles: readonly Trouble[];
  /** By a fingerprint of the notification, which says nothing of its secrets. */
  readonly told: Readonly<Record<string, ToldState>>;
}

/** Of somebody who has not been told anything yet. */
export const emptyNotifyState: NotifyState = { version: 1, runs: {}, troubles: [], told: {} };

const trouble = z.object({
  kind: z.enum(['run', 'listen', 'stale']),
  job: z.string(),
  identity: z.string().nullable(),
  dataset: z.string().nullable(),
  code: z.string(),
  message: z.string(),
  advice: z.string().nullable(),
  sinceMs: z.number(),
});

const notice = z.object({
  id: z.string(),
  event: z.enum(['failure', 'recovery', 'stale']),
  job: z.string(),
  atMs: z.number(),
  host: z.string(),
  isReminder: z.boolean(),
  troubles: z.array(trouble),
  troublesLeftOut: z.number(),
  troublesRemaining: z.number(),
  untold: z.number(),
});

const notifyState = z.object({
  version: z.literal(1),
  runs: z.record(z.string(), z.string()),
  troubles: z.array(trouble),
  told: z.record(
    z.string(),
    z.object({
      told: z.record(z.string(), z.object({ trouble, atMs: z.number(), wasTold: z.boolean() })),
      sentMs: z.record(z.string(), z.array(z.number())),
      untold: z.record(z.string(), z.number()),
      outbox: z.array(z.object({ notice, attempts: z.number(), nextMs: z.number() })),
    }),
  ),
}) satisfies z.ZodType<NotifyState>;

/**
 * Reads the state. One that cannot be understood is put aside as `FILE.damaged`, logged, and begun anew: then what is wrong now is
 * told once more, which is better than a daemon that does not start.
 */
export async function readNotifyState(path: string, logger: Logger): Promise<NotifyState> {
  try {
    return notifyState.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return emptyNotifyState;
    logger.error({ err: error }, `${path} cannot be used; it is put aside, and what is wrong now is told once more`);
    await rename(path, `${path}.damaged`).catch(() => undefined);
    return emptyNotifyState;
  }
}

/** Writes the state as it is at the moment of writing, if it has changed; never two at once. */
export class NotifyStateFile {
  readonly #path: string;
  readonly #current: () => NotifyState;
  readonly #logger: Logger;
  #writing: Promise<void> = Promise.resolve();
  #next: Promise<void> | null = null;
  #isFailing = false;
  #written = '';

  constructor(path: string, current: () => NotifyState, logger: Logger) {
    this.#path = path;
    this.#current = current;
    this.#logger = logger;
  }

  /** Resolves when the state as it is now is on disk, or could not be written, which is logged once until it can again. */
  save(): Promise<void> {
    this.#next ??= this.#writing.then(() => {
      this.#next = null;
      return this.#write();
    });
    this.#writing = this.#next;
    return this.#next;
  }

  async #write(): Promise<void> {
    const text = `${JSON.stringify(this.#current())}\n`;
    if (text === this.#written) return;
    try {
      await replaceDurably(this.#path, (temporary) => writeFile(temporary, text, { mode: 0o600, flag: 'wx' }));
      this.#written = text;
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) {
        const text = `cannot write ${this.#path}; after a restart, people may be told again what they were told before`;
        this.#logger.error({ err: error }, text);
      }
      this.#isFailing = true;
    }
  }
}
