import { isDeepStrictEqual } from 'node:util';
import type { Configuration } from '../config/configuration.ts';
import type { GlobalSettings } from '../config/global-settings.ts';
import type { Job } from '../config/job.ts';
import { SnapferryError } from '../errors.ts';
import type { RunnableJob } from '../jobs/runnable-job.ts';

/** The jobs of a configuration, ready to be carried out, and how they differ from those before: names. */
export interface ConfiguredJobs {
  readonly jobs: readonly RunnableJob[];
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
  readonly unchanged: readonly string[];
}

/** What a configuration is gone over to from. */
export interface ConfiguredBefore {
  readonly global: GlobalSettings;
  readonly jobs: readonly RunnableJob[];
}

/**
 * Makes the jobs of a configuration; those that are as before are the same objects as before.
 * @throws SnapferryError `INVALID_REQUEST` for what cannot be changed while the daemon runs; and what `createJob` throws
 */
export function configuredJobs(
  { global, jobs: settings }: Configuration,
  before: ConfiguredBefore | null,
  createJob: (job: Job) => RunnableJob,
): ConfiguredJobs {
  if (before !== null) refuseFixed(before.global, global);
  const old = new Map(before?.jobs.map((job) => [job.name, job]));
  const isSameGround = before !== null && isDeepStrictEqual(groundOf(before.global), groundOf(global));
  const names: Record<'added' | 'changed' | 'unchanged', string[]> = { added: [], changed: [], unchanged: [] };
  const jobs = settings.map((job) => {
    const known = old.get(job.name);
    old.delete(job.name);
    const isSame = known !== undefined && isSameGround && isDeepStrictEqual(written(known.settings), written(job));
    names[known === undefined ? 'added' : isSame ? 'unchanged' : 'changed'].push(job.name);
    return isSame ? known : createJob(job);
  });
  return { jobs, ...names, removed: [...old.keys()] };
}

/** The settings as they are written: what has been made of them, such as filters, is another object each time. */
function written(job: Job): unknown {
  return JSON.parse(JSON.stringify(job));
}

/** What every job depends on. */
function groundOf({ tools, serve }: GlobalSettings): Pick<GlobalSettings, 'tools' | 'serve'> {
  return { tools, serve };
}

function refuseFixed(before: GlobalSettings, after: GlobalSettings): void {
  const refuse = (key: string, from: string, to: string): never => {
    const text = `${key} cannot be changed from ${from} to ${to} while the daemon runs`;
    throw new SnapferryError('INVALID_REQUEST', `${text}; stop it and start it again for that`);
  };
  if (before.stateDir !== after.stateDir) refuse('global.state_dir', before.stateDir, after.stateDir);
  const [from, to] = [before.control.sockpath, after.control.sockpath];
  if (from !== to) refuse('global.control.sockpath', from, to);
}
