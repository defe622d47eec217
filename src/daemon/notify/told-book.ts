import type { NotificationCore, NotificationEvent } from '../../config/global-settings.ts';
import { createNotice } from './notice.ts';
import type { Notice } from './notice.ts';
import type { Trouble } from './trouble.ts';

/** A trouble that one notification has been told of. Plain data. */
export interface Told {
  readonly trouble: Trouble;
  /** When last, in ms since 1970. */
  readonly atMs: number;
  /** False where the configuration wants it passed over in silence. */
  readonly wasTold: boolean;
}

/** A notice on its way. Plain data. */
export interface PendingNotice {
  readonly notice: Notice;
  /** How often telling has failed. */
  readonly attempts: number;
  /** When it is tried again. */
  readonly nextMs: number;
}

/** What is remembered of one notification. Plain data, may be stored as JSON. */
export interface ToldState {
  /** By `subjectKey`. */
  readonly told: Readonly<Record<string, Told>>;
  /** Per job, when something was told within the last hour. */
  readonly sentMs: Readonly<Record<string, readonly number[]>>;
  /** Per job, failures that began while too much had been told. */
  readonly untold: Readonly<Record<string, number>>;
  /** In the order in which they are to be told. */
  readonly outbox: readonly PendingNotice[];
}

/** What {@link ToldBook} needs to know beside what it remembers. */
export interface ToldBookOptions {
  readonly settings: NotificationCore;
  readonly host: string;
  /** Called with a notice that is given up: too old, or too many are waiting. */
  readonly onDropped: (notice: Notice) => void;
}

const hourMs = 3_600_000;
const noticesPerHourMax = 10;
const outboxMax = 100;
const outboxAgeMsMax = 3 * 24 * hourMs;
const backoffMsFirst = 60_000;
const backoffMsMax = hourMs;

/**
 * What one notification has been told, and has yet to be told. What is there and what was told are compared, so that whatever
 * happens, nothing is told twice and the last word is true. Pure: no clock, no files.
 */
export class ToldBook {
  #told: Map<string, Told>;
  #sentMs: Map<string, readonly number[]>;
  #untold: Map<string, number>;
  #outbox: PendingNotice[];
  #options: ToldBookOptions;

  constructor(options: ToldBookOptions, state: ToldState = { told: {}, sentMs: {}, untold: {}, outbox: [] }) {
    this.#options = options;
    this.#told = new Map(Object.entries(state.told));
    this.#sentMs = new Map(Object.entries(state.sentMs));
    this.#untold = new Map(Object.entries(state.untold));
    this.#outbox = [...state.outbox];
  }

  /** What is to be stored. */
  get state(): ToldState {
    return {
      told: Object.fromEntries(this.#told),
      sentMs: Object.fromEntries(this.#sentMs),
      untold: Object.fromEntries(this.#untold),
      outbox: [...this.#outbox],
    };
  }

  /** Goes on with other settings. */
  configure(settings: NotificationCore): void {
    this.#options = { ...this.#options, settings };
  }

  /** So many failures of a job began. To be called before {@link reconcile}. */
  countBegan(job: string, count: number, nowMs: number): void {
    if (!this.#watches(job) || !this.#wants('failure') || !this.#isHeld(job, nowMs)) return;
    this.#untold.set(job, (this.#untold.get(job) ?? 0) + count);
  }

  /** Writes the notices that make what was told agree with what is there. */
  reconcile(troubles: ReadonlyMap<string, Trouble>, nowMs: number): void {
    const changes = new Map<string, Change>();
    const changeOf = (job: string): Change => {
      const change = changes.get(job) ?? { began: [], due: [], ended: [] };
      changes.set(job, change);
      return change;
    };
    for (const [key, trouble] of troubles) {
      if (!this.#watches(trouble.job)) continue;
      const told = this.#told.get(key);
      if (told?.trouble.code !== trouble.code) changeOf(trouble.job).began.push([key, trouble]);
      else if (this.#isDue(told, nowMs)) changeOf(trouble.job).due.push([key, trouble]);
    }
    for (const [key, told] of this.#told) {
      if (!this.#watches(told.trouble.job)) this.#told.delete(key);
      else if (!troubles.has(key)) changeOf(told.trouble.job).ended.push([key, told]);
    }
    for (const job of this.#untold.keys()) changeOf(job);
    for (const [job, change] of changes) {
      if (!this.#isHeld(job, nowMs)) this.#tell(job, change, troubles, nowMs);
    }
  }

  /** Forgets jobs that are not among these, without a word. */
  keepJobs(jobs: ReadonlySet<string>): void {
    for (const [key, { trouble }] of this.#told) if (!jobs.has(trouble.job)) this.#told.delete(key);
    for (const map of [this.#sentMs, this.#untold]) {
      for (const job of map.keys()) if (!jobs.has(job)) map.delete(job);
    }
  }

  /** The notice to be told now; null: none, or not yet. */
  due(nowMs: number): Notice | null {
    for (;;) {
      const [first] = this.#outbox;
      if (first === undefined) return null;
      if (nowMs - first.notice.atMs <= outboxAgeMsMax) {
        // A wait longer than the longest means that the clock was wrong when it was decided on.
        return first.nextMs <= nowMs || first.nextMs - nowMs > backoffMsMax ? first.notice : null;
      }
      this.#outbox.shift();
      this.#options.onDropped(first.notice);
    }
  }

  /** It was told. */
  delivered({ id }: Notice): void {
    this.#outbox = this.#outbox.filter(({ notice }) => notice.id !== id);
  }

  /** It could not be told. @returns how long until it is tried again, in ms */
  failed({ id }: Notice, nowMs: number): number {
    let waitMs = 0;
    this.#outbox = this.#outbox.map((pending) => {
      if (pending.notice.id !== id) return pending;
      waitMs = Math.min(backoffMsMax, backoffMsFirst * 2 ** pending.attempts);
      return { ...pending, attempts: pending.attempts + 1, nextMs: nowMs + waitMs };
    });
    return waitMs;
  }

  #tell(job: string, { began, due, ended }: Change, troubles: ReadonlyMap<string, Trouble>, nowMs: number): void {
    this.#countTold(job, began.filter(isOf('failure')).length);
    for (const event of ['failure', 'stale'] as const) {
      const fresh = began.filter(isOf(event));
      if (fresh.length > 0) this.#announce(event, job, fresh, { isReminder: false, troubles, nowMs });
      if (!due.some(isOf(event))) continue;
      // One reminder of everything, rather than one for each dataset at its own hour.
      const all = [...troubles].filter((entry) => entry[1].job === job && isOf(event)(entry));
      this.#announce(event, job, all, { isReminder: true, troubles, nowMs });
    }
    const over = ended.filter(([, told]) => told.wasTold || !this.#wantsBeginnings());
    for (const [key] of ended) this.#told.delete(key);
    if (over.length > 0) {
      const past = over.map(([key, told]) => [key, told.trouble] as const);
      this.#announce('recovery', job, past, { isReminder: false, troubles, nowMs });
    }
    // Whoever was not told of them hears of it when nothing else gave occasion.
    if (this.#untold.has(job)) this.#announce('failure', job, [], { isReminder: false, troubles, nowMs });
  }

  /** What is told after all did not go untold. */
  #countTold(job: string, count: number): void {
    const untold = (this.#untold.get(job) ?? 0) - count;
    if (untold > 0) this.#untold.set(job, untold);
    else this.#untold.delete(job);
  }

  #announce(
    event: NotificationEvent,
    job: string,
    entries: readonly Entry[],
    how: { isReminder: boolean; troubles: ReadonlyMap<string, Trouble>; nowMs: number },
  ): void {
    const { troubles, nowMs, isReminder } = how;
    const wasTold = this.#wants(event);
    if (event !== 'recovery') {
      for (const [key, trouble] of entries) this.#told.set(key, { trouble, atMs: nowMs, wasTold });
    }
    const untold = this.#untold.get(job) ?? 0;
    this.#untold.delete(job);
    if (!wasTold) return;
    const spoken = new Set(entries.map(([key]) => key));
    const remaining = [...troubles].filter(([key, trouble]) => trouble.job === job && !spoken.has(key));
    const notice = createNotice(
      { event, job, atMs: nowMs, host: this.#options.host, isReminder, untold, troublesRemaining: remaining.length },
      entries.map(([, trouble]) => trouble),
    );
    this.#sentMs.set(job, [...this.#sentWithinHour(job, nowMs), nowMs]);
    this.#outbox.push({ notice, attempts: 0, nextMs: nowMs });
    while (this.#outbox.length > outboxMax) {
      const [dropped] = this.#outbox.splice(0, 1);
      if (dropped !== undefined) this.#options.onDropped(dropped.notice);
    }
  }

  #watches(job: string): boolean {
    const { jobs } = this.#options.settings;
    return jobs?.includes(job) ?? true;
  }

  #wants(event: NotificationEvent): boolean {
    return this.#options.settings.on.includes(event);
  }

  #wantsBeginnings(): boolean {
    return this.#wants('failure') || this.#wants('stale');
  }

  #isDue(told: Told, nowMs: number): boolean {
    // Told in the future: the clock was wrong then, and nobody knows when it really was.
    return told.atMs > nowMs || nowMs - told.atMs >= this.#options.settings.repeatMsMin;
  }

  #isHeld(job: string, nowMs: number): boolean {
    return this.#sentWithinHour(job, nowMs).length >= noticesPerHourMax;
  }

  #sentWithinHour(job: string, nowMs: number): readonly number[] {
    return (this.#sentMs.get(job) ?? []).filter((atMs) => atMs <= nowMs && nowMs - atMs < hourMs);
  }
}

type Entry = readonly [key: string, trouble: Trouble];

interface Change {
  readonly began: Entry[];
  /** Told before, and to be told again. */
  readonly due: Entry[];
  readonly ended: (readonly [key: string, told: Told])[];
}

function isOf(event: 'failure' | 'stale'): (entry: Entry) => boolean {
  return ([, { kind }]) => (kind === 'stale') === (event === 'stale');
}
