import { spawn, type ChildProcess } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { Uint8ArrayList } from 'uint8arraylist';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { describeCommand, exitFailure, startFailure, type CommandIdentity } from './command-failure.ts';

/** Bytes a command is fed with, or gives. */
export type CommandBytes = Uint8Array | Uint8ArrayList;

/** What to run and within which bounds. There is never a shell: `argv` reaches the program as it is. */
export interface CommandOptions extends CommandIdentity {
  /** Stops the command; whoever waits for it gets `CANCELLED`. */
  readonly signal?: AbortSignal | undefined;
  /** Stops the command after so many ms; whoever waits for it gets `TIMEOUT`. At most 2^31 - 1. */
  readonly deadlineMs?: number | undefined;
  /** Fed to the command, then its input is ended. Without it, {@link spawnCommand} leaves the input to the caller. */
  readonly stdin?: AsyncIterable<CommandBytes> | Uint8Array | undefined;
  /** Bound of what {@link runCommand} collects, in bytes. Default 64 MiB. */
  readonly stdoutBytesMax?: number | undefined;
  /** Whether an exit status other than 0 is none the less success, judged with the command's stderr. Default: never. */
  readonly acceptsStatus?: ((status: number, stderr: string) => boolean) | undefined;
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
  /** SIGTERM to its process group, SIGKILL after two seconds; resolves once it is reaped. Idempotent, never rejects. */
  stop(): Promise<void>;
}

const stderrBytesMax = 64 * 1024;
const stdoutBytesMaxDefault = 64 * 1024 * 1024;
const stopGraceMs = 2000;
const deadlineMsMax = 2 ** 31 - 1;

const living = new Set<ChildProcess>();

/** Whoever embeds this and exits in the middle must not leave commands behind that write on into a store. */
function killTheLiving(): void {
  for (const child of living) signalGroup(child, 'SIGKILL');
}

function track(child: ChildProcess): void {
  if (living.size === 0) process.on('exit', killTheLiving);
  living.add(child);
  child.once('close', () => {
    living.delete(child);
    if (living.size === 0) process.off('exit', killTheLiving);
  });
}

/** A group outlives its leader as long as it has members: `xargs` may be gone while its `cp` goes on. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // ESRCH: nobody of the group is left, which is what was wanted.
  }
}

/** Starts a command in a process group of its own with a clean environment. Never throws; see `finished`. */
export function spawnCommand(options: CommandOptions): RunningCommand {
  const [program, ...args] = options.argv;
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: {
      PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: process.env['HOME'] ?? '/',
      LC_ALL: 'C',
    },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  track(child);
  const stopping = new Stopper(child);
  const finished = settle(child, options, stopping);
  finished.catch(() => undefined);
  const input = new CommandInput(child.stdin, finished, options);
  if (options.stdin !== undefined) {
    input.feed(options.stdin).catch((error: unknown) => stopping.stop(toSnapferryError(error, options.code)));
  }
  return {
    pid: child.pid,
    stdout: child.stdout as AsyncIterable<Uint8Array>,
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
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#closed = new Promise((resolve) => {
      child.once('close', () => resolve());
    });
  }

  async stop(reason: SnapferryError): Promise<void> {
    const child = this.#child;
    const isRunning = child.exitCode === null && child.signalCode === null;
    if (this.reason === null && isRunning) {
      this.reason = reason;
      signalGroup(child, 'SIGTERM');
      const timer = setTimeout(() => signalGroup(child, 'SIGKILL'), stopGraceMs);
      child.once('exit', () => {
        clearTimeout(timer);
        signalGroup(child, 'SIGKILL');
      });
    }
    child.stdin?.destroy();
    child.stdout?.destroy();
    await this.#closed;
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
    if (!isSuccess) throw exitFailure(options, child.exitCode ?? child.signalCode, text);
    return { stderr: text };
  } finally {
    clearTimeout(deadline);
    options.signal?.removeEventListener('abort', onAbort);
  }
}

function startDeadline(options: CommandOptions, stopping: Stopper): NodeJS.Timeout | undefined {
  const deadlineMs = options.deadlineMs;
  if (deadlineMs === undefined) return undefined;
  return setTimeout(
    () =>
      void stopping.stop(
        new SnapferryError('TIMEOUT', `${describeCommand(options)} took longer than ${deadlineMs} ms`),
      ),
    Math.min(deadlineMs, deadlineMsMax),
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

/** The writing end of a command's stdin. */
class CommandInput {
  readonly #stdin: Writable;
  readonly #finished: Promise<unknown>;
  readonly #options: CommandOptions;

  constructor(stdin: Writable, finished: Promise<unknown>, options: CommandOptions) {
    this.#stdin = stdin;
    this.#finished = finished;
    this.#options = options;
    stdin.on('error', () => undefined);
  }

  async write(bytes: CommandBytes): Promise<void> {
    const failure = await this.#send(bytes);
    if (failure === null) return;
    // The command hung up. Its own reason, if it has one, says more than EPIPE.
    await this.#finished;
    const code = this.#options.code ?? 'SOURCE_FAILED';
    throw new SnapferryError(code, `${describeCommand(this.#options)} stopped reading before the end of its input`, {
      cause: failure,
    });
  }

  #send(bytes: CommandBytes): Promise<Error | null> {
    const pieces = bytes instanceof Uint8Array ? [bytes] : [...bytes];
    if (pieces.length === 0) return Promise.resolve(null);
    return new Promise((resolve) => {
      if (pieces.length > 1) this.#stdin.cork();
      pieces.forEach((piece, index) => {
        const isLast = index === pieces.length - 1;
        this.#stdin.write(piece, isLast ? (error) => resolve(error ?? null) : undefined);
      });
      if (pieces.length > 1) this.#stdin.uncork();
    });
  }

  end(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#stdin.destroyed) resolve();
      else {
        this.#stdin.once('close', () => resolve());
        this.#stdin.end(() => resolve());
      }
    });
  }

  /** A command may end well without reading all it is given (`tar` stops at the end of the archive). */
  async feed(stdin: AsyncIterable<CommandBytes> | Uint8Array): Promise<void> {
    if (stdin instanceof Uint8Array) await this.#send(stdin);
    else {
      for await (const bytes of stdin) {
        if ((await this.#send(bytes)) !== null) break;
      }
    }
    await this.end();
  }
}
