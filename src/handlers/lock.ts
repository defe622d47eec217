import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { SnapferryError } from '../errors.ts';
import { spawnCommand, type RunningCommand } from './run-command.ts';

/** A lock that is held. */
export interface Lock extends AsyncDisposable {
  /** False once it was released or lost (somebody killed the process that holds it for us). */
  readonly isHeld: boolean;
  /** Idempotent. */
  release(): Promise<void>;
}

const pollMs = 50;
const deadOwnerMsMax = 2000;
const ownerBytesMax = 1024;
const handshake = Buffer.from('locked\n');

/**
 * Takes the exclusive lock on a file, which is created if need be and stays. The kernel's own lock, held by `flock`
 * with one of our pipes as its lifeline: it ends with us, however we end, also in containers that cannot see each
 * other's processes, and nobody ever has to judge whether an owner is still alive.
 * @param options.waitMs how long to wait for another owner; 0 by default
 * @throws SnapferryError `BUSY` naming the owner and since when; `CANCELLED`; `INTERNAL` when locking does not work
 */
export async function acquireLock(
  path: string,
  options: { readonly what: string; readonly waitMs?: number; readonly signal?: AbortSignal | undefined },
): Promise<Lock> {
  const started = Date.now();
  for (;;) {
    if (options.signal?.aborted === true) {
      throw new SnapferryError('CANCELLED', `waiting for ${options.what} was cancelled`);
    }
    const lock = await tryLock(path);
    if (lock !== null) return lock;
    const owner = await readLockOwner(path);
    const waitedMs = Date.now() - started;
    // The holder of a process killed a moment ago notices within milliseconds.
    const patienceMs = owner?.isGone === false ? (options.waitMs ?? 0) : Math.max(deadOwnerMsMax, options.waitMs ?? 0);
    if (waitedMs >= patienceMs) {
      const who = owner === null ? 'another process' : `process ${owner.pid} since ${owner.since}`;
      throw new SnapferryError('BUSY', `${options.what} is in use by ${who}; try again when it is done`);
    }
    await sleep(pollMs);
  }
}

async function tryLock(path: string): Promise<Lock | null> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    const command = spawnCommand({
      argv: ['flock', '--nonblock', path, 'cat'],
      code: 'INTERNAL',
      // So says flock, in silence, that another holds the lock.
      acceptsStatus: (status, stderr) => status === 1 && stderr === '',
    });
    // `cat` runs only once the lock is ours, so its echo says so.
    const [echo] = await Promise.all([firstPiece(command), command.write(handshake).catch(() => undefined)]);
    if (echo === null) {
      await command.finished;
      return null;
    }
    // A full disk must not keep anybody from pruning, and a lock that was taken from being released: then nobody is named.
    await writeOwner(file).catch(() => undefined);
    return heldLock(command, path);
  } finally {
    await file.close();
  }
}

async function writeOwner(file: FileHandle): Promise<void> {
  const owner = JSON.stringify({ pid: process.pid, since: new Date().toISOString() });
  await file.truncate(0);
  await file.write(`${owner}\n`, 0);
}

async function firstPiece(command: RunningCommand): Promise<Uint8Array | null> {
  for await (const piece of command.stdout) return piece;
  return null;
}

function heldLock(command: RunningCommand, path: string): Lock {
  let isHeld = true;
  command.finished.then(
    () => (isHeld = false),
    () => (isHeld = false),
  );
  const release = async (): Promise<void> => {
    if (!isHeld) return;
    isHeld = false;
    await clearOwner(path);
    await command.endInput();
    await command.finished.catch(() => undefined);
  };
  return {
    get isHeld() {
      return isHeld;
    },
    release,
    [Symbol.asyncDispose]: release,
  };
}

async function clearOwner(path: string): Promise<void> {
  try {
    const file = await open(path, 'r+');
    await file.truncate(0).finally(() => file.close());
  } catch {
    // The store was removed under us; what is left of the lock goes with the process that holds it.
  }
}

/** Who says in the file of a lock that it is theirs. */
export interface LockOwner {
  readonly pid: number;
  /** RFC 3339 */
  readonly since: string;
  /** Whether there is no such process, as far as can be seen from here. */
  readonly isGone: boolean;
}

/** Whose lock it is by what its file says, which it may still say when nobody holds it; null when it says nothing. Touches no lock. */
export async function readLockOwner(path: string): Promise<LockOwner | null> {
  try {
    const file = await open(path, 'r');
    const { buffer, bytesRead } = await file.read(Buffer.alloc(ownerBytesMax)).finally(() => file.close());
    const { pid, since } = JSON.parse(buffer.toString('utf8', 0, bytesRead)) as { pid?: unknown; since?: unknown };
    return typeof pid === 'number' && typeof since === 'string' ? { pid, since, isGone: !exists(pid) } : null;
  } catch {
    return null;
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
