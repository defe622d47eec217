import type { Configuration } from '../config/configuration.ts';
import { SnapferryError } from '../errors.ts';
import type { RunResult } from '../jobs/run-result.ts';
import { controlClient } from './control/control-client.ts';
import { openDaemonState } from './daemon-state.ts';

/**
 * Makes a run that was made beside the daemon part of the history, so that `status` and `check` know of it: the daemon's, or where none
 * answers, that of the next one. A run that did not come about since another process runs the job is nothing to be noted.
 * @throws SnapferryError `BUSY` when a daemon has the history and does not answer; `INTERNAL` when it cannot be written
 */
export async function noteRun({ global }: Configuration, result: RunResult): Promise<void> {
  if (result.error?.code === 'BUSY') return;
  if (await toldDaemon(global.control.sockpath, result)) return;
  const { history, close } = await openDaemonState(global.stateDir);
  try {
    const { run, job, cause, identity, beganMs } = result;
    await history.began({ run, job, cause, identity, beganMs });
    await history.ended(result);
  } finally {
    await close();
  }
}

/** False: there is none. */
async function toldDaemon(socket: string, result: RunResult): Promise<boolean> {
  try {
    await using client = await controlClient(socket);
    await client.call('ran', { result });
    return true;
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'CONNECT_FAILED') return false;
    throw error;
  }
}
