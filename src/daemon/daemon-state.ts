import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import { acquireLock } from '../handlers/lock.ts';
import type { Lock } from '../handlers/lock.ts';
import { History } from './history.ts';

/** How long another process is waited for: `snapferry run` has the directory for a moment when it notes a run. */
const lockMsMax = 3000;

/** What a daemon keeps in its state directory, locked so that no other one uses it. */
export interface DaemonState {
  readonly history: History;
  /** Waits for what is being written, and unlocks. Never rejects. */
  readonly close: () => Promise<void>;
}

/**
 * Opens the state directory for one daemon; it is made if need be.
 * @throws SnapferryError `BUSY` when another one has it, `INTERNAL` when it cannot be used
 */
export async function openDaemonState(stateDir: string): Promise<DaemonState> {
  const lock = await lockState(stateDir);
  try {
    const history = await History.open(stateDir);
    const close = async (): Promise<void> => {
      await history.close();
      await lock.release();
    };
    return { history, close };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function lockState(stateDir: string): Promise<Lock> {
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    return await acquireLock(join(stateDir, 'daemon.lock'), {
      what: `the state directory ${stateDir}`,
      waitMs: lockMsMax,
    });
  } catch (error) {
    if (!(error instanceof SnapferryError)) {
      throw toSnapferryError(error, 'INTERNAL', `use the state directory ${stateDir} (global.state_dir)`);
    }
    if (error.code !== 'BUSY') throw error;
    const text = `another daemon runs on it: ${error.message}; give each its own global.state_dir`;
    throw new SnapferryError('BUSY', text, { cause: error });
  }
}
