import type { Configuration } from '../config/configuration.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { systemClock } from '../jobs/clock.ts';
import type { Clock } from '../jobs/clock.ts';
import type { JobEvent, JobEventListener } from '../jobs/job-events.ts';
import { LocalListeners } from '../jobs/local-listeners.ts';
import type { RunResult } from '../jobs/run-result.ts';
import { configuredJobs } from './configured-jobs.ts';
import type { ConfiguredJobs } from './configured-jobs.ts';
import type { DaemonOptions, ReloadOutcome } from './daemon-options.ts';
import { openDaemonState } from './daemon-state.ts';
import type { DaemonState } from './daemon-state.ts';
import type { DaemonStatus } from './daemon-status.ts';
import { logEvent } from './event-log.ts';
import type { BegunRun } from './history-record.ts';
import { interruptedResult } from './interrupted-run.ts';
import { JobBoard } from './job-board.ts';
import type { Wakeup } from './job-runner.ts';
import { JobTable } from './job-table.ts';
import type { JobSlot } from './job-table.ts';
import { runningExtensions } from './running-extensions.ts';
import type { RunningExtensions } from './running-extensions.ts';
import { Subscribers } from './subscribers.ts';

export type { DaemonOptions, ReloadOutcome } from './daemon-options.ts';

/** What has not ended so long after it was cancelled is left behind. */
const abandonMs = 30_000;

/**
 * Runs the jobs of a configuration for as long as it lives: on schedule, when woken, and for clients. Keeps the history of runs in
 * `global.stateDir`, whose only owner it is. Whoever starts it stops it.
 */
export class Daemon implements AsyncDisposable {
  /** Resolves once the daemon was stopped and nothing of it is left. Never rejects. */
  readonly closed: Promise<void>;
  readonly #options: DaemonOptions;
  readonly #clock: Clock;
  readonly #beganMs: number;
  readonly #state: DaemonState;
  readonly #board: JobBoard;
  readonly #events: Subscribers<JobEvent>;
  readonly #reloads: Subscribers<Configuration>;
  readonly #table: JobTable;
  readonly #localListeners = new LocalListeners();
  #configuration: Configuration;
  #loadedMs: number;
  #reloadError: string | null = null;
  #reloading: Promise<unknown> = Promise.resolve();
  #extensions: RunningExtensions | null = null;
  #stopping: Promise<void> | null = null;
  #areJobsOver = false;
  readonly #timers: (() => void)[] = [];
  readonly #abandoned: Promise<void>;
  #abandon: () => void = () => undefined;
  #settleClosed: () => void = () => undefined;

  private constructor(options: DaemonOptions, configuration: Configuration, state: DaemonState) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#beganMs = this.#clock.nowMs();
    this.#loadedMs = this.#beganMs;
    this.#configuration = configuration;
    this.#state = state;
    this.#board = new JobBoard(state.history.found, this.#beganMs);
    this.#events = new Subscribers('events', options.logger);
    this.#reloads = new Subscribers('reloads', options.logger);
    this.#table = new JobTable({
      clock: this.#clock,
      logger: options.logger,
      lastBeganMs: (job) => this.#board.record(job).lastBeganMs,
      onListening: (job) => this.#board.listens(job),
    });
    this.closed = new Promise((resolve) => (this.#settleClosed = resolve));
    this.#abandoned = new Promise((resolve) => (this.#abandon = resolve));
  }

  /**
   * Starts a daemon. When this resolves, every job looks at the clock, runs or serves.
   * @param beforeJobs awaited when all is ready but no job has begun: for what must be there before, such as a control socket. When it
   *   rejects, the daemon does not start.
   * @throws ConfigurationError as `load` does; SnapferryError `BUSY` when another daemon has the state directory, `INTERNAL` when it
   * cannot be used, or why a job cannot be made
   */
  static async start(options: DaemonOptions, beforeJobs?: (daemon: Daemon) => Promise<void>): Promise<Daemon> {
    const configuration = options.load();
    const daemon = new Daemon(options, configuration, await openDaemonState(configuration.global.stateDir));
    try {
      const begun = daemon.#begin(beforeJobs);
      // A client of the control socket may ask for one before the jobs have begun.
      daemon.#reloading = begun.catch(() => undefined);
      await begun;
    } catch (error) {
      await daemon.stop(0);
      throw error;
    }
    return daemon;
  }

  /** The configuration at work. */
  get configuration(): Configuration {
    return this.#configuration;
  }

  /** Everything as it is at this moment. */
  status(): DaemonStatus {
    const nowMs = this.#clock.nowMs();
    const { file } = this.#configuration;
    return {
      version: this.#options.version,
      pid: process.pid,
      beganMs: this.#beganMs,
      nowMs,
      configuration: { file, loadedMs: this.#loadedMs, reloadError: this.#reloadError },
      jobs: this.#table.slots().map(({ job, runner }) => this.#board.status(job.settings, runner, nowMs)),
    };
  }

  /** Subscribes to the events of every job, until the returned function is called. `status()` knows of an event by then. */
  subscribe(listener: JobEventListener): () => void {
    return this.#events.subscribe(listener);
  }

  /** Calls after each reload that went well, until the returned function is called. */
  onReload(listener: (configuration: Configuration) => void): () => void {
    return this.#reloads.subscribe(listener);
  }

  /**
   * Runs a job now; if it is running, once more afterwards.
   * @throws SnapferryError `INVALID_REQUEST` when there is no such job
   */
  wakeup(job: string): Wakeup {
    return this.#table.wakeup(this.#slot(job));
  }

  /**
   * Stops what a job is doing. What had arrived is kept; its schedule goes on. Resolves with whether there was anything to stop.
   * @throws SnapferryError `INVALID_REQUEST` when there is no such job
   */
  async cancel(job: string): Promise<boolean> {
    return this.#slot(job).runner.cancel(`the run of ${job} was cancelled by hand; the next one goes on where it was`);
  }

  /**
   * Stops what a job is doing and runs it anew at once, so that nothing waits for its next attempt.
   * @throws SnapferryError `INVALID_REQUEST` when there is no such job
   */
  async reset(job: string): Promise<Wakeup> {
    const slot = this.#slot(job);
    await slot.runner.cancel(`the run of ${job} was cancelled to begin anew`);
    return this.#table.wakeup(slot);
  }

  /**
   * Makes a run that another process made (`snapferry run`) part of history and status, and news to whoever listens.
   * @throws SnapferryError `INVALID_REQUEST` when there is no such job
   */
  noteRun(result: RunResult): void {
    const { run, cause, identity, beganMs, endedMs } = result;
    const job = this.#slot(result.job).job.name;
    this.#onEvent({ atMs: beganMs, job, run, kind: 'runBegan', cause, identity });
    this.#onEvent({ atMs: endedMs, job, run, kind: 'runEnded', result });
  }

  /**
   * Reads the configuration again and goes over to it. Jobs that are the same go on undisturbed. When it cannot be used, everything
   * stays as it is, and the status says why.
   * @throws ConfigurationError or SnapferryError why it cannot be used
   */
  reload(): Promise<ReloadOutcome> {
    const mine = this.#reloading.then(() => this.#reload());
    this.#reloading = mine.catch(() => undefined);
    return mine;
  }

  /**
   * Stops: runs may finish within so many ms (default: `global.shutdownMsMax`), and are cancelled then, leaving what can be
   * continued. Called again, it can only be sooner: 0 cancels at once. Resolves once nothing is left. Never rejects.
   */
  stop(withinMs: number = this.#configuration.global.shutdownMsMax): Promise<void> {
    const jobsEnd = this.#table.stop(withinMs);
    if (!this.#areJobsOver) this.#timers.push(this.#clock.after(withinMs + abandonMs, () => this.#abandon()));
    this.#stopping ??= this.#end(Promise.race([jobsEnd, this.#abandoned]));
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #begin(beforeJobs?: (daemon: Daemon) => Promise<void>): Promise<void> {
    const { logger, extensions = [] } = this.#options;
    const { history } = this.#state;
    for (const notice of history.notices) logger.warn(notice);
    this.#logWarnings();
    const { jobs } = this.#createJobs(this.#configuration, false);
    this.#extensions = await runningExtensions(extensions, {
      configuration: () => this.#configuration,
      onReload: (listener) => this.onReload(listener),
      subscribe: (listener) => this.subscribe(listener),
      status: () => this.status(),
      clock: this.#clock,
      logger,
    });
    await beforeJobs?.(this);
    const interrupted = [...history.found.begun.values()];
    for (const run of interrupted) this.#tellInterrupted(run);
    const toResume = new Set(interrupted.filter(({ cause }) => cause !== 'peer').map(({ job }) => job));
    this.#table.apply(jobs, { serviceMsMax: 0, toResume });
  }

  #reload(): ReloadOutcome {
    const { load, logger } = this.#options;
    let configuration: Configuration;
    let made: ConfiguredJobs;
    try {
      if (this.#stopping !== null) throw new SnapferryError('GOODBYE', 'the daemon is being stopped');
      configuration = load();
      made = this.#createJobs(configuration, true);
    } catch (error) {
      this.#reloadError = error instanceof Error ? error.message : String(error);
      logger.error(`the configuration was not reloaded, the old one is still at work: ${this.#reloadError}`);
      throw error;
    }
    const { jobs, ...outcome } = made;
    this.#configuration = configuration;
    this.#loadedMs = this.#clock.nowMs();
    this.#reloadError = null;
    this.#board.forgetLive(new Set([...jobs.map(({ name }) => name), ...this.#table.unfinished()]));
    this.#table.apply(jobs, { serviceMsMax: configuration.global.shutdownMsMax });
    this.#reloads.tell(configuration);
    logger.info({ ...outcome }, `the configuration ${configuration.file} was reloaded`);
    this.#logWarnings();
    return { ...outcome, warnings: configuration.warnings.map(({ text }) => text) };
  }

  /** Each in one line; where it is, with a mark, is shown by `snapferry configcheck`. */
  #logWarnings(): void {
    for (const { code, job, text } of this.#configuration.warnings) {
      this.#options.logger.warn({ warning: code, job }, text.split('\n', 1)[0] ?? text);
    }
  }

  #createJobs(configuration: Configuration, isReload: boolean): ConfiguredJobs {
    const { createJob, logger, inheritedSockets } = this.#options;
    const before = isReload
      ? { global: this.#configuration.global, jobs: this.#table.slots().map(({ job }) => job) }
      : null;
    return configuredJobs(configuration, before, (job) =>
      createJob(job, {
        global: configuration.global,
        logger,
        clock: this.#clock,
        onEvent: (event) => this.#onEvent(event),
        localListeners: this.#localListeners,
        inheritedSockets,
      }),
    );
  }

  #slot(job: string): JobSlot {
    const slot = this.#table.slot(job);
    if (slot !== null) return slot;
    const known = this.#table.slots().map(({ job: { name } }) => name);
    const text = `there is no job ${JSON.stringify(job)}; there are: ${known.join(', ')}`;
    throw new SnapferryError('INVALID_REQUEST', text);
  }

  #onEvent(event: JobEvent): void {
    this.#board.apply(event);
    logEvent(this.#options.logger, event);
    if (event.kind === 'runBegan') {
      const { run, job, cause, identity, atMs } = event;
      this.#keep(this.#state.history.began({ run, job, cause, identity, beganMs: atMs }));
    }
    if (event.kind === 'runEnded') this.#keep(this.#state.history.ended(event.result));
    this.#events.tell(event);
  }

  #keep(writing: Promise<void>): void {
    writing.catch((error: unknown) => {
      const { code, message } = toSnapferryError(error);
      this.#options.logger.error({ code }, `the history of runs is not complete: ${message}`);
    });
  }

  #tellInterrupted(begun: BegunRun): void {
    const { job, run, cause, identity } = begun;
    const at = { atMs: this.#clock.nowMs(), job, run };
    // Its beginning is in the history already.
    this.#board.apply({ ...at, kind: 'runBegan', cause, identity });
    this.#events.tell({ ...at, kind: 'runBegan', cause, identity });
    this.#onEvent({ ...at, kind: 'runEnded', result: interruptedResult(begun) });
  }

  async #end(jobsEnd: Promise<void>): Promise<void> {
    await jobsEnd;
    this.#areJobsOver = true;
    for (const forget of this.#timers) forget();
    const left = this.#table.unfinished();
    if (left.length > 0) this.#options.logger.error(`left behind although they did not end: ${left.join(', ')}`);
    await this.#extensions?.end();
    await this.#state.close();
    this.#settleClosed();
  }
}
