import type { Finding } from './finding.ts';
import { cure, cureOn } from './finding.ts';
import type { DoctorCheck, Patient } from './patient.ts';

/** Clocks of machines that are kept right differ by less. */
const skewMsMax = 2 * 60_000;

/** Snapshots from the future, and a clock that was set back: retention and `stale_after` go by them. */
export const clockCheck: DoctorCheck = {
  name: 'clock',
  examine(patient) {
    return [...ownClock(patient), ...clocksOfPeers(patient)];
  },
};

function ownClock({ name, status, machine }: Patient): Finding[] {
  const { nowMs } = machine;
  const endedMs = status?.lastRun?.endedMs ?? null;
  if (endedMs === null || endedMs - nowMs <= skewMsMax) return [];
  const message = `the newest run ended ${minutes(endedMs - nowMs)} from now (${iso(endedMs)}): the clock of this machine has been set back, or was wrong then`;
  return [{ check: 'clock', severity: 'problem', subject: name, message, cures: setClock(null) }];
}

function clocksOfPeers({ status, job, machine: { nowMs } }: Patient): Finding[] {
  const host = hostOf(job);
  return (status?.datasets ?? []).flatMap(({ dataset, newest, newestAtMs }): Finding[] => {
    const claimedMs = newest === null ? NaN : Date.parse(newest.creation);
    const aheadMs = claimedMs - (newestAtMs ?? nowMs);
    if (newest === null || !(aheadMs > skewMsMax)) return [];
    const message = `snapshot ${newest.name} says it was made at ${newest.creation}, ${minutes(aheadMs)} after it was seen here: the clock of the machine that made it is ahead; what is removed by age, and when it is called stale, is wrong until that time`;
    return [{ check: 'clock', severity: 'problem', subject: dataset, message, cures: setClock(host) }];
  });
}

function setClock(host: string | null) {
  return [
    cureOn(host, 'let it be kept right', ['timedatectl', 'set-ntp', 'true']),
    host === null
      ? cure('see whether it is', ['timedatectl', 'status'])
      : cureOn(host, 'see whether it is', ['date', '-u']),
  ];
}

function hostOf(job: Patient['job']): string | null {
  if (job === null || job.type !== 'pull') return job?.type === 'sink' ? 'the client' : null;
  const { connect } = job;
  if (connect.type === 'ssh+stdinserver') return connect.host;
  return connect.type === 'tcp' || connect.type === 'tls' ? connect.address.host : null;
}

function minutes(ms: number): string {
  return `${Math.round(ms / 60_000)} min`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
