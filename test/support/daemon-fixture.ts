import { pino } from 'pino';
import type { Configuration } from '../../src/config/configuration.ts';
import type { GlobalSettings, Notification } from '../../src/config/global-settings.ts';
import type { Job } from '../../src/config/job.ts';
import { parseDatasetFilter } from '../../src/dataset-filter.ts';
import type { DaemonExtensionContext } from '../../src/daemon/daemon-extension.ts';
import type { DaemonStatus, DatasetStatus, JobStatus, Problem } from '../../src/daemon/daemon-status.ts';
import type { Clock } from '../../src/jobs/clock.ts';
import type { JobEvent, JobEventListener, RunEvent, SessionEvent } from '../../src/jobs/job-events.ts';
import type { DatasetResult, RunResult } from '../../src/jobs/run-result.ts';

/** The moment at which every {@link handClock} begins. */
export const beganMs = Date.parse('2026-11-21T12:00:00Z');

/** A clock that moves when it is told to. */
export interface HandClock extends Clock {
  /** Lets time pass and rings what is due, in order. */
  advance(ms: number): void;
  /** How many timers wait. */
  readonly waiting: () => number;
}

/** Makes a clock that stands at {@link beganMs}. */
export function handClock(): HandClock {
  let nowMs = beganMs;
  const timers = new Set<{ dueMs: number; run: () => void }>();
  return {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs - beganMs,
    after(delayMs, run) {
      const timer = { dueMs: nowMs + Math.max(0, delayMs), run };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    advance(ms) {
      const endMs = nowMs + ms;
      for (;;) {
        const [next] = [...timers].filter(({ dueMs }) => dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs);
        if (next === undefined) break;
        timers.delete(next);
        nowMs = Math.max(nowMs, next.dueMs);
        next.run();
      }
      nowMs = endMs;
    },
    waiting: () => timers.size,
  };
}

/** A daemon as an extension sees it, played by a test. */
export interface PlayedDaemon {
  readonly context: DaemonExtensionContext;
  readonly clock: HandClock;
  /** The status, but for its time. Replace it before the event that changes it. */
  status: DaemonStatus;
  emit(event: RunEvent | SessionEvent, job?: string): void;
  /** Ends a run of a job, and puts it into the status. */
  endRun(result: RunResult): void;
  reload(global: Partial<GlobalSettings>): void;
  /** Lines of its log, as JSON. */
  readonly log: readonly string[];
}

/**
 * Plays a daemon with these global settings.
 * @param configured names of jobs in its configuration that its status may not know yet
 */
export function playedDaemon(
  global: Partial<GlobalSettings>,
  jobs: readonly JobStatus[] = [jobStatus()],
  clock = handClock(),
  configured: readonly string[] = [],
): PlayedDaemon {
  const listeners = new Set<JobEventListener>();
  const reloads = new Set<(configuration: Configuration) => void>();
  const log: string[] = [];
  let configuration = configurationOf(global, configured);
  const daemon: PlayedDaemon = {
    clock,
    log,
    status: daemonStatus(jobs),
    emit(event, job = 'web1') {
      const told: JobEvent = { ...event, job, atMs: clock.nowMs() };
      for (const listener of listeners) listener(told);
    },
    endRun(result) {
      const withRun = (status: JobStatus) => (status.name === result.job ? { ...status, lastRun: result } : status);
      daemon.status = { ...daemon.status, jobs: daemon.status.jobs.map(withRun) };
      daemon.emit({ kind: 'runEnded', run: result.run, result }, result.job);
    },
    reload(changed) {
      configuration = configurationOf(changed, configured);
      for (const listener of reloads) listener(configuration);
    },
    context: {
      configuration: () => configuration,
      onReload(listener) {
        reloads.add(listener);
        return () => reloads.delete(listener);
      },
      subscribe(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      status: () => ({ ...daemon.status, nowMs: clock.nowMs() }),
      clock,
      logger: pino({ level: 'trace' }, { write: (line: string) => void log.push(line) }),
    },
  };
  return daemon;
}

function configurationOf(global: Partial<GlobalSettings>, jobs: readonly string[]): Configuration {
  return {
    file: '/etc/snapferry/snapferry.yml',
    files: ['/etc/snapferry/snapferry.yml'],
    jobs: jobs.map(snapJob),
    warnings: [],
    global: {
      logging: { level: 'info', format: 'json', time: null, color: null },
      monitoring: null,
      control: { sockpath: '/run/snapferry/control' },
      serve: { stdinserverSockdir: '/run/snapferry/stdinserver' },
      stateDir: '/var/lib/snapferry',
      shutdownMsMax: 60_000,
      notifications: [],
      tools: { zfs: ['zfs'], btrfs: ['btrfs'] },
      ...global,
    },
  };
}

function snapJob(name: string): Job {
  return {
    type: 'snap',
    name,
    backend: 'zfs',
    staleAfterMs: null,
    pruning: { sender: null, receiver: null },
    filesystems: { rules: {}, filter: parseDatasetFilter({}) },
    snapshotting: { type: 'manual' },
    exclude: [],
    snapshotFolder: null,
  };
}

/** A daemon that has just begun. */
export function daemonStatus(jobs: readonly JobStatus[]): DaemonStatus {
  return {
    version: '1.2.3',
    pid: 4711,
    beganMs,
    nowMs: beganMs,
    configuration: { file: '/etc/snapferry/snapferry.yml', loadedMs: beganMs, reloadError: null },
    jobs,
  };
}

/** An idle pull job `web1` without datasets. */
export function jobStatus(overrides: Partial<JobStatus> = {}): JobStatus {
  return {
    name: 'web1',
    type: 'pull',
    backend: 'zfs',
    state: 'idle',
    run: null,
    runs: [],
    lastRun: null,
    lastSuccessMs: null,
    nextRunMs: null,
    staleAfterMs: null,
    datasets: [],
    sessions: [],
    problems: [],
    ...overrides,
  };
}

/** A dataset that is well, with a snapshot made a minute before {@link beganMs}. */
export function datasetStatus(overrides: Partial<DatasetStatus> = {}): DatasetStatus {
  return {
    dataset: 'tank/data',
    identity: null,
    target: 'backup/tank/data',
    state: 'ok',
    step: null,
    newest: { name: 'auto_1', guid: '1', creation: new Date(beganMs - 60_000).toISOString() },
    newestAtMs: beganMs,
    lastSuccessMs: beganMs,
    error: null,
    ...overrides,
  };
}

/** A problem with a dataset, or with a job as a whole. */
export function problem(overrides: Partial<Problem> = {}): Problem {
  return {
    code: 'STALE',
    dataset: 'tank/data',
    identity: null,
    message: 'the newest snapshot, auto_1, is 2d old, and may be 1d old',
    advice: 'see what keeps it from arriving: snapferry doctor web1',
    sinceMs: beganMs,
    ...overrides,
  };
}

let runs = 0;

/** A run of `web1` that went well. */
export function runResult(overrides: Partial<RunResult> = {}): RunResult {
  return {
    run: `run-${(runs += 1)}`,
    job: 'web1',
    cause: 'schedule',
    identity: null,
    beganMs,
    endedMs: beganMs + 1000,
    durationMs: 1000,
    outcome: 'ok',
    error: null,
    datasets: [],
    bytes: 0,
    retries: 0,
    ...overrides,
  };
}

/** A run of `web1` that failed as a whole. */
export function failedRun(code = 'CONNECT_FAILED', message = 'cannot connect to web1', more: Partial<RunResult> = {}) {
  return runResult({ outcome: 'failed', error: { code, message }, ...more });
}

/** What a run did with a dataset: everything. */
export function datasetResult(overrides: Partial<DatasetResult> = {}): DatasetResult {
  return {
    dataset: 'tank/data',
    target: 'backup/tank/data',
    error: null,
    steps: 1,
    bytes: 1000,
    newest: null,
    snapshot: null,
    pruned: 0,
    notices: [],
    ...overrides,
  };
}

/** A notification by a command that is never run. */
export function commandNotification(overrides: Partial<Notification & { type: 'command' }> = {}): Notification {
  return {
    type: 'command',
    argv: ['/bin/false'],
    on: ['failure', 'recovery', 'stale'],
    jobs: null,
    repeatMsMin: 24 * 3_600_000,
    timeoutMs: 30_000,
    ...overrides,
  };
}
