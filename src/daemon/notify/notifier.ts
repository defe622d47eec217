import { createHash } from 'node:crypto';
import type { Configuration } from '../../config/configuration.ts';
import type { Notification } from '../../config/global-settings.ts';
import type { JobEvent } from '../../jobs/job-events.ts';
import type { RunResult } from '../../jobs/run-result.ts';
import { toSnapferryError } from '../../errors.ts';
import type { DaemonExtensionContext } from '../daemon-extension.ts';
import type { DaemonStatus } from '../daemon-status.ts';
import { deliverInTime } from './deliver.ts';
import type { Deliver } from './deliver.ts';
import { NotifyStateFile } from './notify-state.ts';
import type { NotifyState } from './notify-state.ts';
import { ToldBook } from './told-book.ts';
import type { ToldState } from './told-book.ts';
import { TroubleBook } from './trouble-book.ts';
import type { Advise } from './trouble-book.ts';
import { tellableName } from './trouble.ts';
import type { Trouble } from './trouble.ts';

/** What a {@link Notifier} is made of. */
export interface NotifierOptions {
  /** Where its state is kept. */
  readonly path: string;
  readonly state: NotifyState;
  readonly host: string;
  readonly deliver: Deliver;
  readonly onAttempt: (type: string, outcome: 'delivered' | 'failed' | 'dropped') => void;
}

/** Somebody who is told. */
interface Target {
  /** Another one after a reload, to the same destination. */
  notification: Notification;
  readonly book: ToldBook;
  /** Under way; null: nothing is being told. */
  delivering: Promise<void> | null;
}

/** The first look comes soon, since a daemon tells of its jobs only after its extensions have begun. */
const checkFirstMs = 1000;
const checkEachMs = 60_000;
const closeMsMax = 5000;

/** Watches a daemon and tells people. Dispose of it to end it; what is not delivered by then is told by the next one. */
export class Notifier implements AsyncDisposable {
  readonly #context: DaemonExtensionContext;
  readonly #options: NotifierOptions;
  readonly #troubles: TroubleBook;
  readonly #runs: Map<string, string>;
  readonly #caughtUp = new Set<string>();
  readonly #file: NotifyStateFile;
  readonly #controller = new AbortController();
  #targets = new Map<string, Target>();
  #offs: (() => void)[] = [];
  #cancelTimer: () => void = () => undefined;
  #isClosed = false;

  constructor(context: DaemonExtensionContext, options: NotifierOptions) {
    this.#context = context;
    this.#options = options;
    this.#troubles = new TroubleBook(options.state.troubles);
    this.#runs = new Map(Object.entries(options.state.runs));
    this.#file = new NotifyStateFile(options.path, () => this.#state(), context.logger);
    this.#configure(context.configuration(), options.state.told);
  }

  /** Looks at what happened while nobody watched, and watches from now on. */
  begin(): void {
    this.#offs = [
      this.#context.subscribe((event) => this.#onEvent(event)),
      this.#context.onReload((configuration) => {
        this.#configure(configuration, {});
        this.#check();
      }),
    ];
    this.#check();
    this.#checkAfter(checkFirstMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#offs.forEach((off) => off());
    this.#cancelTimer();
    const cancelLimit = this.#context.clock.after(closeMsMax, () => this.#controller.abort());
    await Promise.all([...this.#targets.values()].flatMap(({ delivering }) => delivering ?? []));
    cancelLimit();
    await this.#save();
  }

  // The status is asked for only where it is needed: most events are news of bytes.
  #onEvent(event: JobEvent): void {
    switch (event.kind) {
      case 'runBegan':
        // The last moment at which the run before it is still the newest one.
        if (!this.#caughtUp.has(event.job)) this.#catchUp(this.#context.status());
        return;
      case 'runEnded': {
        const status = this.#context.status();
        this.#learn(event.result, status);
        this.#check(status);
        return;
      }
      case 'listenFailed': {
        const status = this.#context.status();
        const began = this.#troubles.applyListenFailure(event.job, event.error, event.atMs, adviseFrom(status));
        this.#countBegan(event.job, began);
        this.#check(status);
        return;
      }
      case 'sessionBegan':
        if (this.#troubles.endListenFailure(event.job)) this.#check();
        return;
      default:
        return;
    }
  }

  /** Learns from runs that ended while nobody watched: the daemon was killed before this was on disk. */
  #catchUp(status: DaemonStatus): void {
    for (const { name, lastRun } of status.jobs) {
      if (this.#caughtUp.has(name)) continue;
      this.#caughtUp.add(name);
      if (lastRun !== null && this.#runs.get(name) !== lastRun.run) this.#learn(lastRun, status);
    }
  }

  #learn(result: RunResult, status: DaemonStatus): void {
    this.#caughtUp.add(result.job);
    this.#runs.set(result.job, result.run);
    this.#countBegan(result.job, this.#troubles.applyRun(result, adviseFrom(status)));
  }

  #countBegan(job: string, count: number): void {
    if (count === 0) return;
    const nowMs = this.#context.clock.nowMs();
    for (const { book } of this.#targets.values()) book.countBegan(job, count, nowMs);
  }

  /** Compares what is wrong with what was told, and tells the difference. */
  #check(status: DaemonStatus = this.#context.status()): void {
    if (this.#isClosed) return;
    this.#catchUp(status);
    const running = new Set(status.jobs.map(({ name }) => name));
    const jobs = new Set([...running, ...this.#context.configuration().jobs.map(({ name }) => name)]);
    this.#troubles.keepJobs(jobs);
    this.#troubles.applyStale(running, staleOf(status));
    this.#endListenFailures(status);
    for (const job of this.#runs.keys()) if (!jobs.has(job)) this.#runs.delete(job);
    const nowMs = this.#context.clock.nowMs();
    for (const target of this.#targets.values()) {
      target.book.keepJobs(jobs);
      target.book.reconcile(this.#troubles.troubles, nowMs);
    }
    void this.#save();
    for (const target of this.#targets.values()) this.#deliverTo(target);
  }

  #checkAfter(delayMs: number): void {
    this.#cancelTimer = this.#context.clock.after(delayMs, () => {
      this.#check();
      this.#checkAfter(checkEachMs);
    });
  }

  #endListenFailures(status: DaemonStatus): void {
    for (const { kind, job, code } of this.#troubles.troubles.values()) {
      if (kind !== 'listen') continue;
      const problems = status.jobs.find(({ name }) => name === job)?.problems;
      const isOver = problems?.every((problem) => problem.dataset !== null || problem.code !== code) ?? false;
      if (isOver) this.#troubles.endListenFailure(job);
    }
  }

  #deliverTo(target: Target): void {
    if (target.delivering !== null || target.book.due(this.#context.clock.nowMs()) === null) return;
    target.delivering = this.#deliverAll(target).finally(() => {
      target.delivering = null;
      // What came up after it had looked for the last time.
      if (!this.#isClosed) this.#deliverTo(target);
    });
  }

  async #deliverAll(target: Target): Promise<void> {
    const { clock, logger } = this.#context;
    const { book } = target;
    for (let notice = book.due(clock.nowMs()); notice !== null; notice = book.due(clock.nowMs())) {
      if (this.#isClosed) return;
      // On disk before anybody hears of it: after a crash it is rather told twice than never.
      await this.#save();
      const { notification } = target;
      const { type } = notification;
      const about = { job: notice.job, event: notice.event, notification: type, notice: notice.id };
      const signal = this.#controller.signal;
      const failure = await deliverInTime(this.#options.deliver, notification, notice, { clock, signal }).then(
        () => null,
        (error: unknown) => toSnapferryError(error),
      );
      if (failure === null) book.delivered(notice);
      const waitMs = failure === null ? 0 : book.failed(notice, clock.nowMs());
      await this.#save();
      this.#options.onAttempt(type, failure === null ? 'delivered' : 'failed');
      if (failure === null) logger.info(about, `told of ${notice.event} of job ${notice.job} by ${type}`);
      else {
        const text = `cannot tell of ${notice.event} of job ${notice.job} by ${type}: ${failure.message}`;
        logger.error({ ...about, code: failure.code }, `${text}; it is tried again in ${waitMs / 60_000} minutes`);
      }
    }
  }

  #configure(configuration: Configuration, told: Readonly<Record<string, ToldState>>): void {
    const before = this.#targets;
    this.#targets = new Map();
    for (const notification of configuration.global.notifications) {
      const key = this.#freeKey(notification);
      const target = before.get(key) ?? {
        notification,
        book: new ToldBook(this.#bookOptions(notification), told[key]),
        delivering: null,
      };
      // A delivery under way ends by itself; the next one goes by the new settings.
      target.notification = notification;
      target.book.configure(notification);
      this.#targets.set(key, target);
    }
  }

  #bookOptions(notification: Notification) {
    return {
      settings: notification,
      host: tellableName(this.#options.host),
      onDropped: (notice: { job: string; event: string; id: string }) => {
        this.#options.onAttempt(notification.type, 'dropped');
        const about = { job: notice.job, event: notice.event, notification: notification.type, notice: notice.id };
        this.#context.logger.error(about, `could not tell of ${notice.event} of job ${notice.job}, and gave it up`);
      },
    };
  }

  /** The same for the same notification in every configuration; its address may be a secret, and is not to be seen in it. */
  #freeKey(notification: Notification): string {
    for (let ordinal = 0; ; ordinal += 1) {
      const text = JSON.stringify([destinationOf(notification), ordinal]);
      const key = createHash('sha256').update(text).digest('base64url');
      if (!this.#targets.has(key)) return key;
    }
  }

  #save(): Promise<void> {
    return this.#targets.size === 0 ? Promise.resolve() : this.#file.save();
  }

  #state(): NotifyState {
    return {
      version: 1,
      runs: Object.fromEntries(this.#runs),
      troubles: [...this.#troubles.troubles.values()],
      told: Object.fromEntries([...this.#targets].map(([key, { book }]) => [key, book.state])),
    };
  }
}

function destinationOf(notification: Notification): readonly unknown[] {
  switch (notification.type) {
    case 'command':
      return ['command', notification.argv];
    case 'webhook':
      return ['webhook', notification.url, notification.urlFile];
    case 'mail':
      return ['mail', notification.server.host, notification.server.port, notification.from, notification.to];
  }
}

function adviseFrom(status: DaemonStatus): Advise {
  return ({ job, identity, dataset }, code) => {
    const problems = status.jobs.find(({ name }) => name === job)?.problems ?? [];
    const found = problems.find(
      (problem) => problem.dataset === dataset && problem.identity === identity && problem.code === code,
    );
    return found?.advice ?? null;
  };
}

function staleOf(status: DaemonStatus): Trouble[] {
  return status.jobs.flatMap(({ name, problems }) =>
    problems
      .filter(({ code }) => code === 'STALE')
      .map((problem) => ({ ...problem, kind: 'stale' as const, job: name })),
  );
}
