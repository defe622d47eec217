import type { ChildProcess } from 'node:child_process';

/** How a child ended: exactly one of the two is not null. */
export interface ExitStatus {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What it took to end a child. */
export type Ending = 'by itself' | 'terminated' | 'killed';

/** The end of a child process that leads its own process group: waiting for it, and bringing it about. */
export class ChildExit {
  readonly #child: ChildProcess;
  readonly #graceMs: number;
  readonly #exited: Promise<void>;
  #status: ExitStatus | undefined;
  #groupLeft = false;
  #ending: Promise<Ending> | undefined;

  /**
   * @param child just spawned, with `detached`
   * @param graceMs how long each polite step may take, in milliseconds
   */
  constructor(child: ChildProcess, graceMs: number) {
    this.#child = child;
    this.#graceMs = graceMs;
    this.#exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#status = { code, signal };
        // While a member lives, the kernel gives the number to nobody else. This is the moment it is known to be ours.
        this.#groupLeft = this.#signalGroup(0);
        resolve();
      });
    });
  }

  /** How it ended, or undefined while it runs. */
  get status(): ExitStatus | undefined {
    return this.#status;
  }

  /** Resolves when it has ended, or after that many milliseconds. */
  async within(limitMs: number): Promise<void> {
    if (this.#status !== undefined) return;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([this.#exited, new Promise((resolve) => (timer = setTimeout(resolve, limitMs)))]);
    clearTimeout(timer);
  }

  /**
   * Waits for the child to end, its input having been ended; then SIGTERM, then SIGKILL, to it and all it started.
   * Resolves when it is reaped.
   */
  endPolitely(): Promise<Ending> {
    this.#ending ??= this.#endPolitely();
    return this.#ending;
  }

  /** Kills the child and all it started. */
  kill(): void {
    if (this.#status === undefined || this.#groupLeft) this.#signalGroup('SIGKILL');
  }

  async #endPolitely(): Promise<Ending> {
    let ending: Ending = 'by itself';
    await this.within(this.#graceMs);
    if (this.#status === undefined) {
      ending = 'terminated';
      this.#signalGroup('SIGTERM');
      await this.within(this.#graceMs);
    }
    if (this.#status === undefined) {
      ending = 'killed';
      this.#signalGroup('SIGKILL');
      await this.#exited;
    }
    if (this.#groupLeft) this.#signalGroup('SIGKILL');
    this.#groupLeft = false;
    return ending;
  }

  #signalGroup(signal: NodeJS.Signals | 0): boolean {
    const { pid } = this.#child;
    if (pid === undefined) return false;
    try {
      process.kill(-pid, signal);
      return true;
    } catch {
      return false;
    }
  }
}
