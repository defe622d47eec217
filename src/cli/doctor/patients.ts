import { resolve } from 'node:path';
import type { Backend, Job } from '../../config/job.ts';
import type { JobStatus } from '../../daemon/daemon-status.ts';
import { zfsTool } from '../../handlers/zfs/commands-tool.ts';
import { backendOf } from '../../jobs/backend-of.ts';
import { listPools } from '../../jobs/backend-zfs.ts';
import { systemClock } from '../../jobs/clock.ts';
import type { LocalLocation } from '../location.ts';
import type { Machine, Patient, SeenError, StoragePlace } from './patient.ts';
import { rehearse } from './rehearsal.ts';
import type { RehearsalRequest } from './rehearsal.ts';

/** What is wanted of {@link jobPatient}. */
export interface JobPatientRequest extends RehearsalRequest {
  /** Whether to rehearse it, which asks the other side. */
  readonly isRehearsed: boolean;
}

/** A job, with everything that is known of it. */
export async function jobPatient(request: JobPatientRequest): Promise<Patient> {
  const { job, machine } = request;
  const status = machine.seen?.jobs.find(({ name }) => name === job.name) ?? null;
  const now = request.isRehearsed ? await rehearse(request) : null;
  const places = await placesOf(job, machine);
  return {
    name: job.name,
    job,
    status,
    places,
    errors: [...(now?.errors ?? []), ...earlierErrors(status, now?.errors ?? null, now?.isWhole === true)],
    copies: await copiesOf(job, status, machine),
    machine,
  };
}

/** A place on this machine. */
export async function placePatient(name: string, location: LocalLocation, machine: Machine): Promise<Patient> {
  const { backend } = location;
  const path = backend === 'directory' ? resolve(location.path) : location.path;
  const copies = [path, ...(await copiesBelow(backend, path, machine))];
  const places = [{ backend, path, role: 'either', isRecursive: true }] as const;
  return { name, job: null, status: null, places, errors: [], copies, machine };
}

/** What a rehearsal is sure to find again if it is still so. */
const foundAgain = new Set(['CONFLICT', 'DATASET_NOT_FOUND']);

function earlierErrors(status: JobStatus | null, now: readonly SeenError[] | null, isWhole: boolean): SeenError[] {
  if (status === null) return [];
  const ofJob = status.problems
    .filter(({ dataset, code }) => dataset === null && code !== 'STALE')
    .map(({ code, message }): SeenError => ({ code, message, dataset: null, target: null, when: 'earlier' }));
  const ofDatasets = status.datasets.flatMap(({ dataset, target, error }): SeenError[] =>
    error === null ? [] : [{ ...error, dataset, target, when: 'earlier' }],
  );
  const isKnown = ({ code, dataset }: SeenError): boolean =>
    now?.some((other) => other.code === code && other.dataset === dataset) === true;
  return [...ofJob, ...ofDatasets].filter((error) => !isKnown(error) && !(isWhole && foundAgain.has(error.code)));
}

async function placesOf(job: Job, machine: Machine): Promise<StoragePlace[]> {
  const places: StoragePlace[] = [];
  const { backend } = job;
  if (job.type !== 'pull' && job.type !== 'sink') {
    for (const { path, isSubtree } of job.filesystems.filter.roots) {
      const name = backend === 'zfs' ? path.join('/') : `/${path.join('/')}`;
      if (path.length > 0) places.push({ backend, path: name, role: 'source', isRecursive: isSubtree });
      else
        for (const pool of await poolsOf(machine))
          places.push({ backend, path: pool, role: 'source', isRecursive: true });
    }
  }
  if ('rootFs' in job) places.push({ backend, path: job.rootFs, role: 'target', isRecursive: true });
  return places;
}

async function poolsOf({ tools, signal }: Machine): Promise<string[]> {
  // That there is no zfs to ask is found by the checks, too, which say so.
  return listPools(zfsTool({ argv: tools.zfs }), signal).catch(() => []);
}

async function copiesOf(job: Job, status: JobStatus | null, machine: Machine): Promise<string[]> {
  if (!('rootFs' in job)) return [];
  const known = (status?.datasets ?? []).flatMap(({ target }) => (target === null ? [] : [target]));
  return [...new Set([...known, ...(await copiesBelow(job.backend, job.rootFs, machine))])].sort();
}

async function copiesBelow(backend: Backend, root: string, { tools, logger, signal }: Machine): Promise<string[]> {
  const { copiesBelow, parseName, formatName } = backendOf(backend, { tools, logger, clock: systemClock });
  try {
    return (await copiesBelow(parseName(root), signal)).map(formatName);
  } catch {
    return [];
  }
}
