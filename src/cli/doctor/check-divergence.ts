import type { Backend, Job } from '../../config/job.ts';
import type { Cure, Finding } from './finding.ts';
import { advice, cure, cureOn } from './finding.ts';
import type { DoctorCheck, Patient, SeenError } from './patient.ts';

/** Source and copy have gone separate ways: nothing incremental can be sent any more. */
export const divergenceCheck: DoctorCheck = {
  name: 'divergence',
  examine(patient) {
    const found = patient.errors.filter(({ code }) => code === 'CONFLICT');
    return found.map((error): Finding => {
      const earlier = error.when === 'now' ? '' : 'when the job last ran: ';
      const cures = curesOf(error, patient);
      const subject = error.dataset ?? patient.name;
      return { check: 'divergence', severity: 'problem', subject, message: `${earlier}${error.message}`, cures };
    });
  },
};

function curesOf({ target, message }: SeenError, { job, name, machine }: Patient): Cure[] {
  if (job === null || target === null) return [advice('replicate into another place, or move the copy out of the way')];
  const host = hostOfTarget(job);
  const date = new Date(machine.nowMs).toISOString().slice(0, 10);
  const aside = `${target}-before-${date}`;
  const again = cure('then begin anew', ['snapferry', 'signal', name, 'wakeup']);
  const look = cureOn(host, 'see what only the copy has', listWords(job.backend, target));
  const keep = cureOn(
    host,
    'keep the copy as it is, out of the way',
    moveWords(job.backend, target, aside, machine.tools),
  );
  return [look, ...rollback(job.backend, target, message, { host, tools: machine.tools }), keep, again];
}

/** The other machine, for whoever sends; null: the copies are here. */
function hostOfTarget(job: Job): string | null {
  if (job.type !== 'push') return null;
  const { connect } = job;
  if (connect.type === 'ssh+stdinserver') return connect.host;
  return connect.type === 'tcp' || connect.type === 'tls' ? connect.address.host : null;
}

function listWords(backend: Backend, target: string): string[] {
  return ['snapferry', 'list', backend === 'directory' ? target : `${backend}:${target}`];
}

function moveWords(backend: Backend, from: string, to: string, tools: Patient['machine']['tools']): string[] {
  return backend === 'zfs' ? [...tools.zfs, 'rename', from, to] : ['mv', '--no-target-directory', from, to];
}

/** Where there is something in common, what only the copy has can be given up instead. */
function rollback(
  backend: Backend,
  target: string,
  message: string,
  { host, tools }: { readonly host: string | null; readonly tools: Patient['machine']['tools'] },
): Cure[] {
  const common = /newest common version @([^\s@#]+?)\.(?:\s|$)/.exec(message)?.[1];
  if (backend !== 'zfs' || common === undefined) return [];
  const words = [...tools.zfs, 'rollback', '-r', `${target}@${common}`];
  return [cureOn(host, 'give up what only the copy has (it is destroyed), and go on', words)];
}
