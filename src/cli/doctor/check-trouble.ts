import { adviceFor } from '../../daemon/advice.ts';
import type { Cure, Finding } from './finding.ts';
import { advice, cure } from './finding.ts';
import type { DoctorCheck } from './patient.ts';

const explained = new Set([
  ...['CONFLICT', 'ACCESS_DENIED', 'CONNECT_FAILED', 'CONNECTION_LOST', 'PEER_SILENT', 'TIMEOUT', 'STREAM_TRUNCATED'],
  ...['GOODBYE', 'RESUME_TOKEN_INVALID', 'VERSION_NOT_FOUND', 'STREAM_FORMAT_MISMATCH'],
]);

/** Errors that no other check explains, and datasets that are stale. */
export const troubleCheck: DoctorCheck = {
  name: 'trouble',
  examine({ name, job, status, errors }) {
    if (job === null) return [];
    const findings = errors
      .filter(({ code }) => !explained.has(code))
      .map(({ code, message, dataset, when }): Finding => {
        const earlier = when === 'now' ? '' : 'when the job last ran: ';
        const text = `${earlier}${message} (${code})`;
        const cures = [installation(message) ?? advice(adviceFor(code, job))];
        return { check: 'trouble', severity: 'problem', subject: dataset ?? name, message: text, cures };
      });
    const stale = (status?.problems ?? []).filter(({ code }) => code === 'STALE');
    return [
      ...findings,
      ...stale.map(({ dataset, message }): Finding => {
        const isCaused = errors.length > 0 ? '; the cause is named with the other findings' : '';
        const cures =
          'schedule' in job || 'snapshotting' in job
            ? [cure('run it now', ['snapferry', 'signal', name, 'wakeup'])]
            : [advice('see on its client whether it still comes: snapferry status')];
        return {
          check: 'stale',
          severity: 'problem',
          subject: dataset ?? name,
          message: `${message}${isCaused}`,
          cures,
        };
      }),
    ];
  },
};

/** What Debian calls the package of a program. */
const packages: ReadonlyMap<string, string> = new Map([
  ['zfs', 'zfsutils-linux'],
  ['btrfs', 'btrfs-progs'],
  ['ssh', 'openssh-client'],
  ['flock', 'util-linux'],
  ['sudo', 'sudo'],
]);

function installation(message: string): Cure | null {
  const program = /the program "([^"]+)" is not on the PATH/.exec(message)?.[1];
  if (program === undefined) return null;
  return cure('install it, or name its whole path in global.tools', [
    'apt-get',
    'install',
    packages.get(program) ?? program,
  ]);
}
