import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { ByteStream } from './byte-stream.ts';
import { ChildExit } from './child-exit.ts';
import type { ExitStatus } from './child-exit.ts';
import { childOutput } from './child-output.ts';
import type { ChildOutput } from './child-output.ts';
import { cleanEnvironment } from './clean-environment.ts';
import { LineTail } from './line-tail.ts';
import { nodeByteStream } from './node-streams.ts';

const graceMsDefault = 5000;
const exitWaitMsDefault = 2000;
/** What a child wrote last is read after its exit; another process that holds its standard error is not waited for. */
const stderrWaitMs = 200;

/** A program to run and talk to over its standard input and output. */
export interface ConnectCommandOptions {
  /** The program and its arguments; no shell is involved. */
  readonly argv: readonly [string, ...string[]];
  /** What it is called in messages. Default: the program and its arguments. */
  readonly description?: string;
  /** Variables added to the clean environment of {@link cleanEnvironment}. */
  readonly env?: Readonly<Record<string, string>>;
  /** The child's working directory. Default: this process's. */
  readonly cwd?: string;
  /** How long a close waits for the child to end by itself, and then after SIGTERM, in milliseconds. Default 5000. */
  readonly graceMs?: number;
  /**
   * How long after the end of the child's output its exit status is waited for, in milliseconds, so that a failure can
   * be told from an orderly end. Default 2000.
   */
  readonly exitWaitMs?: number;
  /** Aborts the connection when it fires; the child is killed and reaped. */
  readonly signal?: AbortSignal;
  /** Called with each line the child writes to its standard error. The last lines are kept for the error in any case. */
  readonly onStderrLine?: (line: string) => void;
  /** What to do if the program does not exist. Default: install it, or check PATH. */
  readonly missingHint?: string;
  /** Adds what a failure of this program usually means to its error message, or returns undefined. */
  readonly explainExit?: (exit: { readonly code: number | null; readonly stderr: string }) => string | undefined;
}

/**
 * Starts a program and resolves with its standard input and output as a byte stream, once the program runs. A child
 * that fails turns the end of its output into an error that quotes its exit status and the end of its standard error:
 * `CONNECT_FAILED` if it never sent a byte, `CONNECTION_LOST` otherwise. A close ends its input, waits, and becomes
 * harder until the child is gone; it rejects if the child failed or had to be killed. The child leads a process group
 * of its own, so that what it started is ended with it.
 * @throws SnapferryError `CONNECT_FAILED` if the program cannot be started, `CANCELLED` if the signal has fired
 */
export async function connectCommand(options: ConnectCommandOptions): Promise<ByteStream> {
  const [program, ...args] = options.argv;
  const description = options.description ?? `command ${options.argv.join(' ')}`;
  const output = await childOutput();
  try {
    if (options.signal?.aborted === true) {
      throw new SnapferryError('CANCELLED', `starting ${description} was cancelled`, { cause: options.signal.reason });
    }
    const child = spawnChild(program, args, description, { ...options, output });
    const exit = new ChildExit(child, options.graceMs ?? graceMsDefault);
    await started(child, description, options);
    return commandStream(child, exit, description, { ...options, output });
  } catch (error) {
    output?.readable.destroy();
    throw error;
  } finally {
    // The child has its own by now, and the output ends when the last of them is closed.
    output?.childEnd.destroy();
  }
}

/** Its `stdout` is there only where it was not given an output of ours. */
type Child = ChildProcessByStdio<Writable, Readable, Readable>;

interface StartOptions extends ConnectCommandOptions {
  /** What the child writes to; undefined for a pipe of Node's own. */
  readonly output: ChildOutput | undefined;
}

function spawnChild(program: string, args: readonly string[], description: string, options: StartOptions): Child {
  try {
    return spawn(program, args, {
      stdio: ['pipe', options.output?.childEnd ?? 'pipe', 'pipe'],
      env: { ...cleanEnvironment(), ...options.env },
      cwd: options.cwd,
      detached: true,
    }) as Child;
  } catch (error) {
    throw toSnapferryError(error, 'CONNECT_FAILED', `cannot start ${description}`);
  }
}

async function started(child: Child, description: string, options: ConnectCommandOptions): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause: NodeJS.ErrnoException) => {
      const hint = cause.code === 'ENOENT' ? missing(options) : cause.message;
      reject(new SnapferryError('CONNECT_FAILED', `cannot start ${description}: ${hint}`, { cause, retryable: false }));
    });
  });
  child.removeAllListeners('error');
  child.on('error', () => undefined);
}

function missing(options: ConnectCommandOptions): string {
  const where = options.cwd === undefined ? '' : ` (or the directory ${options.cwd} does not exist)`;
  return `there is no program ${options.argv[0]}${where}; ${options.missingHint ?? 'install it, or check PATH'}`;
}

function commandStream(child: Child, exit: ChildExit, description: string, options: StartOptions): ByteStream {
  const { signal, explainExit, graceMs = graceMsDefault, output } = options;
  const stderr = new LineTail(child.stderr, options.onStderrLine);
  let aborted = false;
  let releasing: Promise<void> | undefined;

  const failure = (receivedBytes: number): SnapferryError | undefined =>
    exitFailure({ status: exit.status, stderr: stderr.text, receivedBytes, description, explainExit });

  const release = async (receivedBytes: number): Promise<void> => {
    const ending = await exit.endPolitely();
    await stderr.ended(stderrWaitMs);
    stderr.release();
    signal?.removeEventListener('abort', onSignal);
    if (aborted) return;
    if (ending !== 'by itself') {
      const message = `${description} did not end within ${graceMs} ms after its input had ended, and was ${ending}`;
      throw new SnapferryError('CONNECTION_LOST', message);
    }
    const failed = failure(receivedBytes);
    if (failed !== undefined) throw failed;
  };

  const stream = nodeByteStream({
    readable: output?.readable ?? child.stdout,
    writable: child.stdin,
    ...(output !== undefined && { incoming: output.incoming }),
    description,
    verdict: async (error, receivedBytes) => {
      await exit.within(options.exitWaitMs ?? exitWaitMsDefault);
      await stderr.ended(stderrWaitMs);
      return failure(receivedBytes) ?? error;
    },
    release: (_settled, receivedBytes) => (releasing ??= release(receivedBytes)),
    onAbort: () => {
      aborted = true;
      exit.kill();
    },
  });
  const onSignal = (): void => {
    const reason: unknown = signal?.reason;
    stream.abort(reason instanceof Error ? reason : new Error(String(reason)));
  };
  signal?.addEventListener('abort', onSignal, { once: true });
  if (signal?.aborted === true) onSignal();
  return stream;
}

interface Ended {
  readonly status: ExitStatus | undefined;
  readonly stderr: string;
  readonly receivedBytes: number;
  readonly description: string;
  readonly explainExit: ConnectCommandOptions['explainExit'];
}

function exitFailure(ended: Ended): SnapferryError | undefined {
  const { status, stderr, description } = ended;
  if (status === undefined || status.code === 0) return undefined;
  const how =
    status.code === null ? `was ended by ${status.signal ?? 'a signal'}` : `exited with status ${status.code}`;
  const hint = ended.explainExit?.({ code: status.code, stderr });
  const message = [`${description} ${how}`, hint, stderr === '' ? undefined : `its last words: ${stderr}`];
  const code = ended.receivedBytes === 0 ? 'CONNECT_FAILED' : 'CONNECTION_LOST';
  return new SnapferryError(code, message.filter((part) => part !== undefined).join('; '));
}
