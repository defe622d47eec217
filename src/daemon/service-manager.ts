import { toSnapferryError } from '../errors.ts';
import { runCommand } from '../handlers/run-command.ts';
import type { Clock } from '../jobs/clock.ts';
import type { Logger } from '../rpc/interfaces.ts';

/** What a daemon tells whoever has started it. Nothing of it ever rejects: a failure is logged. */
export interface ServiceManager {
  /** It works, or works again after {@link reloading}. */
  readonly ready: (status: string) => Promise<void>;
  readonly reloading: () => Promise<void>;
  readonly stopping: (status: string) => Promise<void>;
  /** What it is doing, one line; the newest replaces what has not been told yet. */
  readonly status: (status: string) => void;
  /** Says nothing any more, and waits for what is being said. */
  readonly close: () => Promise<void>;
}

/** What {@link systemdManager} takes. */
export interface SystemdOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Default: that of the process. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly pid?: number | undefined;
}

const tellMsMax = 10_000;

/** systemd, for a unit of `Type=notify` with `NotifyAccess=all`; null when nothing of the kind has started this process. */
export function systemdManager({ clock, logger, ...rest }: SystemdOptions): ServiceManager | null {
  const env = rest.env ?? process.env;
  const socket = env['NOTIFY_SOCKET'];
  if (socket === undefined || socket === '') return null;
  return new Systemd({ clock, logger, socket, watchdogMs: watchdogMsOf(env, rest.pid ?? process.pid) });
}

/** How often the watchdog wants to hear of us: half the time after which it would act; null: not at all. */
function watchdogMsOf(env: NodeJS.ProcessEnv, pid: number): number | null {
  const us = Number(env['WATCHDOG_USEC'] ?? '');
  const forPid = env['WATCHDOG_PID'];
  if (!Number.isFinite(us) || us <= 0 || (forPid !== undefined && forPid !== String(pid))) return null;
  return us / 1000 / 2;
}

class Systemd implements ServiceManager {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #socket: string;
  readonly #watchdogMs: number | null;
  #turn: Promise<void> = Promise.resolve();
  #status: string | null = null;
  #stopWatchdog: () => void = () => undefined;
  #isClosed = false;

  constructor(options: { clock: Clock; logger: Logger; socket: string; watchdogMs: number | null }) {
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#socket = options.socket;
    this.#watchdogMs = options.watchdogMs;
  }

  ready(status: string): Promise<void> {
    this.#stopWatchdog();
    this.#watch();
    return this.#tell(['READY=1', `STATUS=${oneLine(status)}`]);
  }

  reloading(): Promise<void> {
    const us = process.hrtime.bigint() / 1000n;
    return this.#tell(['RELOADING=1', `MONOTONIC_USEC=${us}`]);
  }

  stopping(status: string): Promise<void> {
    return this.#tell(['STOPPING=1', `STATUS=${oneLine(status)}`]);
  }

  status(status: string): void {
    const isWaiting = this.#status !== null;
    this.#status = status;
    if (!isWaiting && !this.#isClosed) this.#turn = this.#turn.then(() => this.#tellStatus());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stopWatchdog();
    await this.#turn;
  }

  async #tellStatus(): Promise<void> {
    const status = this.#status;
    this.#status = null;
    if (status !== null) await this.#run([`STATUS=${oneLine(status)}`]);
  }

  /** As long as timers run and children can be started, the daemon is alive. */
  #watch(): void {
    if (this.#watchdogMs === null || this.#isClosed) return;
    this.#stopWatchdog = this.#clock.after(this.#watchdogMs, () => {
      void this.#tell(['WATCHDOG=1']);
      this.#watch();
    });
  }

  #tell(fields: readonly string[]): Promise<void> {
    if (this.#isClosed) return this.#turn;
    this.#turn = this.#turn.then(() => this.#run(fields));
    return this.#turn;
  }

  /** Node has no datagram sockets of the unix kind. */
  async #run(fields: readonly string[]): Promise<void> {
    try {
      await runCommand({
        argv: ['systemd-notify', ...fields],
        environment: { NOTIFY_SOCKET: this.#socket },
        code: 'INTERNAL',
        deadlineMs: tellMsMax,
      });
    } catch (error) {
      const { code, message } = toSnapferryError(error);
      this.#logger.warn({ code }, `systemd could not be told ${fields[0] ?? ''}: ${message}`);
    }
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
