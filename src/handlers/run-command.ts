import { spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { PassThrough, Readable } from 'node:stream';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { describeCommand, exitFailure, startFailure, type CommandIdentity } from './command-failure.ts';
import { CommandInput, type CommandBytes } from './command-input.ts';
import { StallWatch, watchedBytes } from './stall-watch.ts';

export type { CommandBytes } from './command-input.ts';

/** What to run and within which bounds. There is never a shell: `argv` reaches the program as it is. */
export interface CommandOptions extends CommandIdentity {
  /** Stops the command; whoever waits for it gets `CANCELLED`. */
  readonly signal?: AbortSignal | undefined;
  /** Stops the command after so many ms; whoever waits for it gets `TIMEOUT`. At most 2^31 - 1. */
  readonly deadlineMs?: number | undefined;
  /**
   * Stops the command when output that is waited for does not come, or input that is offered is not taken, for `msMax` ms, at
   * most 2^31 - 1; whoever waits for it gets `TIMEOUT`. A slow reader of the output, or a slow giver of the input, is no matter.
   */
  readonly stall?: { readonly of: 'output' | 'input'; readonly msMax: number } | undefined;
  /** Added to the clean environment: what a command must be told that way, such as `TZ`. */
  readonly environment?: Readonly<Record<string, string>> | undefined;
  /** Fed to the command, then its input is ended. Without it, {@link spawnCommand} leaves the input to the caller. */
  readonly stdin?: AsyncIterable<CommandBytes> | Uint8Array | undefined;
  /** Bound of what {@link runCommand} collects, in bytes. Default 64 MiB. */
  readonly stdoutBytesMax?: number | undefined;
  /** Whether an exit status other than 0 is none the less success, judged with the command's stderr. Default: never. */
  readonly acceptsStatus?: ((status: number, stderr: string) => boolean) | undefined;
  /** Makes the error of a command that failed, from its status or signal and the end of its stderr. */
  readonly failure?: ((status: number | NodeJS.Signals | null, stderr: string) => SnapferryError) | undefined;
}

/** A command under way. Whoever spawned it awaits `finished`, or calls `stop`. */
export interface RunningCommand {
  readonly pid: number | undefined;
  /** Iterate once. Its end says nothing about success: `finished` does. Unread, it holds the command up. */
  readonly stdout: AsyncIterable<Uint8Array>;
  /** Resolves when the bytes are taken and may be reused. Rejects with the command's own error if it died of one. */
  write(bytes: CommandBytes): Promise<void>;
  /** Ends the input. A command that no longer listens is not an error here; `finished` has its verdict. */
  endInput(): Promise<void>;
  /**
   * Resolves when the command exited with status 0 or one accepted, with the end of its stderr. Rejects with a
   * SnapferryError of the given code that names the command, its status and its stderr; `CANCELLED` or `TIMEOUT` if it
   * was stopped.
   */
  readonly finished: Promise<{ readonly stderr: string }>;
  /**
   * SIGTERM to its process group, SIGKILL after two seconds; resolves once it is reaped. One that cannot be killed, since it
   * is stuck in the kernel or another user's, is waited for ten seconds more and then left behind. Idempotent, never rejects.
   */
  stop(): Promise<void>;
}

const stderrBytesMax = 64 * 1024;
const stdoutBytesMaxDefault = 64 * 1024 * 1024;
const stopGraceMs = 2000;
const abandonMs = 10_000;
const timerMsMax = 2 ** 31 - 1;

const living = new Set<ChildProcess>();

/** Whoever embeds this and exits in the middle must not leave commands behind that write on into a store. */
function killTheLiving(): void {
  for (const child of living) signalGroup(child, 'SIGKILL');
}

function track(child: ChildProcess): void {
  if (living.size === 0) process.on('exit', killTheLiving);
  living.add(child);
  const forget = (): void => {
    living.delete(child);
    if (living.size === 0) process.off('exit', killTheLiving);
  };
  child.once('close', forget);
  // One that was never started need not be closed.
  child.once('error', () => {
    if (child.pid === undefined) forget();
  });
}

/** Without a descriptor left for its pipes, Node gives a child no streams at all, and tells why a moment later. */
function withStreams(child: ChildProcessWithoutNullStreams): ChildProcessWithoutNullStreams {
  if ((child.stdout as Readable | undefined) !== undefined) return child;
  return Object.assign(child, { stdin: new PassThrough().end(), stdout: Readable.from([]), stderr: Readable.from([]) });
}

/** A group outlives its leader as long as it has members: `xargs` may be gone while its `cp` goes on. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // ESRCH: nobody of the group is left, which is what was wanted. EPERM: it runs as somebody else, by sudo; then it ends
    // with its pipes, which are closed.
  }
}

/** Starts a command in a process group of its own with a clean environment. Never throws; see `finished`. */
export function spawnCommand(options: CommandOptions): RunningCommand {
  const [program, ...args] = options.argv;
  const started = spawn(program, args, {
    cwd: options.cwd,
    env: {
      PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: process.env['HOME'] ?? '/',
      LC_ALL: 'C',
      ...options.environment,
    },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  const child = withStreams(started);
  track(child);
  const stopping = new Stopper(child);
  const finished = settle(child, options, stopping);
  finished.catch(() => undefined);
  const watch = watchFor(options, stopping, finished);
  const input = new CommandInput(child.stdin, finished, options, options.stall?.of === 'input' ? watch : null);
  if (options.stdin !== undefined) {
    input.feed(options.stdin).catch((error: unknown) => stopping.stop(toSnapferryError(error, options.code)));
  }
  return {
    pid: child.pid,
    stdout: watchedBytes(child.stdout as AsyncIterable<Uint8Array>, options.stall?.of === 'output' ? watch : null),
    write: (bytes) => input.write(bytes),
    endInput: () => input.end(),
    finished,
    stop: () => stopping.stop(new SnapferryError('CANCELLED', `${describeCommand(options)} was stopped`)),
  };
}

/**
 * Runs a command to its end and collects its output.
 * @throws SnapferryError as `finished` of {@link RunningCommand} does, or of the given code when there is too much output
 */
export async function runCommand(options: CommandOptions): Promise<{ stdout: Buffer; stderr: string }> {
  const command = spawnCommand({ ...options, stdin: options.stdin ?? new Uint8Array(0) });
  const bytesMax = options.stdoutBytesMax ?? stdoutBytesMaxDefault;
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const piece of command.stdout) {
      bytes += piece.byteLength;
      if (bytes > bytesMax) {
        throw new SnapferryError(
          options.code ?? 'SOURCE_FAILED',
          `${describeCommand(options)} printed over ${bytesMax} bytes`,
        );
      }
      pieces.push(piece);
    }
  } catch (error) {
    // A killed command breaks its output; then the reason is what it was killed for.
    if (error instanceof SnapferryError) await command.stop();
    else await command.finished;
    throw toSnapferryError(error, options.code, describeCommand(options));
  }
  const { stderr } = await command.finished;
  return { stdout: Buffer.concat(pieces), stderr };
}

/** Ends a command politely, then hard, and remembers the first reason for it. */
class Stopper {
  reason: SnapferryError | null = null;
  /** Resolves if it could not be ended. */
  readonly abandoned: Promise<void>;
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;
  #abandon: () => void = () => undefined;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#closed = new Promise((resolve) => {
      child.once('close', () => resolve());
    });
    this.abandoned = new Promise((resolve) => {
      this.#abandon = () => {
        child.unref();
        resolve();
      };
    });
  }

  async stop(reason: SnapferryError): Promise<void> {
    const child = this.#child;
    const isRunning = child.exitCode === null && child.signalCode === null;
    if (this.reason === null && isRunning) {
      this.reason = reason;
      signalGroup(child, 'SIGTERM');
      const timers = [
        setTimeout(() => signalGroup(child, 'SIGKILL'), stopGraceMs),
        setTimeout(() => this.#abandon(), stopGraceMs + abandonMs),
      ];
      child.once('exit', () => {
        timers.forEach(clearTimeout);
        signalGroup(child, 'SIGKILL');
      });
    }
    child.stdin?.destroy();
    child.stdout?.destroy();
    await Promise.race([this.#closed, this.abandoned]);
  }
}

/** The verdict over a command once it is gone and its stderr has been read. */
async function settle(child: ChildProcess, options: CommandOptions, stopping: Stopper): Promise<{ stderr: string }> {
  const stderr = new Tail(child.stderr);
  const onAbort = (): void => {
    void stopping.stop(new SnapferryError('CANCELLED', `${describeCommand(options)} was cancelled`));
  };
  if (options.signal?.aborted === true) onAbort();
  options.signal?.addEventListener('abort', onAbort, { once: true });
  const deadline = startDeadline(options, stopping);
  try {
    const failure = await new Promise<Error | null>((resolve) => {
      child.once('error', resolve);
      void stopping.abandoned.then(() => resolve(null));
      child.once('exit', () => {
        // What it wrote last may still be under way; a stray grandchild holding stderr open must not hold us up.
        const timer = setTimeout(() => child.stderr?.destroy(), stopGraceMs);
        const done = (): void => {
          clearTimeout(timer);
          resolve(null);
        };
        if (child.stderr === null || child.stderr.closed) done();
        else child.stderr.once('close', done);
      });
    });
    if (failure !== null) throw startFailure(options, failure);
    if (stopping.reason !== null) throw stopping.reason;
    const text = stderr.text();
    const isSuccess =
      child.exitCode === 0 || (child.exitCode !== null && options.acceptsStatus?.(child.exitCode, text) === true);
    const status = child.exitCode ?? child.signalCode;
    if (!isSuccess) throw options.failure?.(status, text) ?? exitFailure(options, status, text);
    return { stderr: text };
  } finally {
    clearTimeout(deadline);
    options.signal?.removeEventListener('abort', onAbort);
  }
}

/** A watch over a command that must not stand still, as long as it runs. */
function watchFor(options: CommandOptions, stopping: Stopper, finished: Promise<unknown>): StallWatch | null {
  if (options.stall === undefined) return null;
  const { of, msMax } = options.stall;
  const watch = new StallWatch(Math.min(msMax, timerMsMax), () => {
    const what = of === 'output' ? 'wrote nothing' : 'took nothing of its input';
    const text = `${describeCommand(options)} ${what} for ${msMax} ms and was stopped`;
    void stopping.stop(new SnapferryError('TIMEOUT', text, { connectionDead: false }));
  });
  const end = () => watch.close();
  finished.then(end, end);
  return watch;
}

function startDeadline(options: CommandOptions, stopping: Stopper): NodeJS.Timeout | undefined {
  const deadlineMs = options.deadlineMs;
  if (deadlineMs === undefined) return undefined;
  return setTimeout(
    () =>
      void stopping.stop(
        new SnapferryError('TIMEOUT', `${describeCommand(options)} took longer than ${deadlineMs} ms`, {
          connectionDead: false,
        }),
      ),
    Math.min(deadlineMs, timerMsMax),
  );
}

/** The last {@link stderrBytesMax} bytes of a stream. */
class Tail {
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(stream: Readable | null) {
    stream?.on('data', (piece: Buffer) => {
      this.#pieces.push(piece);
      this.#bytes += piece.length;
      if (this.#bytes > 2 * stderrBytesMax) this.#trim();
    });
    stream?.on('error', () => undefined);
  }

  #trim(): Buffer {
    const kept = Buffer.concat(this.#pieces).subarray(-stderrBytesMax);
    this.#pieces = [kept];
    this.#bytes = kept.length;
    return kept;
  }

  text(): string {
    return this.#trim().toString('utf8');
  }
}
