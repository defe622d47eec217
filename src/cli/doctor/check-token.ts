import { join } from 'node:path';
import { systemClock } from '../../jobs/clock.ts';
import { backendOf } from '../../jobs/backend-of.ts';
import type { JobBackend } from '../../jobs/job-backend.ts';
import type { FilesystemVersion } from '../../dataset.ts';
import type { ReplicationSink, ResumeState } from '../../sink.ts';
import type { Backend } from '../../config/job.ts';
import type { Cure, Finding } from './finding.ts';
import { advice, cure } from './finding.ts';
import { isAtWork } from './patient.ts';
import type { DoctorCheck, Patient } from './patient.ts';

const troubling = new Set(['RESUME_TOKEN_INVALID', 'VERSION_NOT_FOUND', 'STREAM_FORMAT_MISMATCH']);

/** What an interrupted receive left, and whether it can ever be continued. */
export const tokenCheck: DoctorCheck = {
  name: 'token',
  async examine(patient) {
    const findings: Finding[] = [];
    for (const { backend, copy } of copiesOf(patient)) {
      const finding = await examineCopy(copy, backend, patient);
      if (finding !== null) findings.push(finding);
    }
    return findings;
  },
};

function copiesOf({ copies, places }: Patient): { readonly backend: Backend; readonly copy: string }[] {
  const target = places.find(({ role }) => role !== 'source');
  return target === undefined ? [] : copies.map((copy) => ({ backend: target.backend, copy }));
}

async function examineCopy(copy: string, backend: Backend, patient: Patient): Promise<Finding | null> {
  const { tools, logger, signal } = patient.machine;
  const jobBackend = backendOf(backend, { tools, logger, clock: systemClock });
  const sink = sinkOf(jobBackend, patient);
  const path = jobBackend.parseName(copy);
  const state = await sink.resumeState(path, signal);
  if (state === null || isAtWork(patient)) return null;
  const versions = (await sink.filesystemVersions(path, signal)) ?? [];
  const why = whyStale(state, versions) ?? whyRefused(copy, patient);
  const cures = [...discard(backend, copy, patient), ...goOn(patient)];
  const about = { check: 'token', subject: copy };
  if (why === null) {
    const message = 'a receive was interrupted here; the next run goes on where it stopped';
    return { ...about, severity: 'notice', message, cures: goOn(patient) };
  }
  return {
    ...about,
    severity: 'problem',
    message: `a receive was interrupted here and cannot be continued: ${why}`,
    cures,
  };
}

function sinkOf(backend: JobBackend, { job }: Patient): ReplicationSink {
  const recv = job !== null && 'recv' in job ? job.recv : receiveDefaults;
  return backend.sink({ recv, jobId: job?.name ?? 'doctor', identity: '' });
}

/** Nothing is received with it: only looked at. */
const receiveDefaults = {
  properties: { override: {}, inherit: [], fromSender: false, trusted: [] },
  placeholderEncryption: 'unspecified',
  bandwidthLimit: null,
} as const;

/** What the copy itself shows; what the source still has, only a run finds out. */
function whyStale({ fromGuid, toGuid }: ResumeState, versions: readonly FilesystemVersion[]): string | null {
  const arrived = versions.find(({ guid }) => guid === toGuid);
  if (arrived !== undefined) return `what it was to bring is here already, as ${arrived.name}`;
  if (fromGuid === null || versions.some(({ guid }) => guid === fromGuid)) return null;
  return 'the snapshot it builds on is gone from the copy';
}

function whyRefused(copy: string, { errors }: Patient): string | null {
  const error = errors.find(({ code, target }) => troubling.has(code) && (target === copy || target === null));
  return error === undefined ? null : error.message;
}

function discard(backend: Backend, copy: string, { machine }: Patient): Cure[] {
  switch (backend) {
    case 'zfs':
      return [cure('throw away what has arrived of it', [...machine.tools.zfs, 'recv', '-A', copy])];
    case 'directory':
      return [cure('throw away what has arrived of it', ['rm', '-rf', '--', join(copy, 'staging', 'receive')])];
    case 'btrfs':
      return [advice('the next run throws away what has arrived of it by itself')];
  }
}

function goOn({ job, name }: Patient): Cure[] {
  return job === null ? [] : [cure('go on', ['snapferry', 'signal', name, 'wakeup'])];
}
