import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { holdersOf } from './check-lock.ts';
import type { Finding } from './finding.ts';
import { advice, cure } from './finding.ts';
import type { Machine } from './patient.ts';

/** What is wrong with the daemon itself. */
export async function examineDaemon(machine: Machine): Promise<Finding[]> {
  const { seen } = machine;
  if (seen === null) return [];
  const findings: Finding[] = [];
  const add = (severity: Finding['severity'], message: string, cures: Finding['cures']): void => {
    findings.push({ check: 'daemon', severity, subject: 'the daemon', message, cures });
  };
  if (!seen.daemon.isRunning) {
    const pid = await holderOfStateDir(machine);
    const restart = cure('start it anew', ['systemctl', 'restart', 'snapferry']);
    if (pid !== null) {
      const message = `process ${pid} is a daemon that does not answer: ${seen.daemon.reason ?? ''}`;
      add('problem', message, [restart, cure('or end it', ['kill', String(pid)])]);
    } else {
      const message = `no daemon runs: ${seen.daemon.reason ?? ''}`;
      add('problem', message, [
        cure('start it', ['systemctl', 'start', 'snapferry']),
        cure('see why it ended', ['journalctl', '-u', 'snapferry', '-n', '50']),
      ]);
    }
  }
  const { reloadError } = seen.configuration;
  if (reloadError !== null) {
    add('problem', `an older configuration is at work, for the last reload was refused:\n${reloadError}`, [
      cure('see what is wrong', ['snapferry', 'configcheck', '--config', seen.configuration.file]),
      cure('then', ['snapferry', 'reload']),
    ]);
  }
  for (const notice of seen.notices) add('notice', notice, []);
  const other = await otherUser(machine);
  if (other !== null) {
    const message = `the daemon runs as user ${other}, and ${machine.user.name} looks: what one may do, the other may not`;
    add('notice', message, [advice(`look as that user: sudo -u '#${other}' snapferry doctor`)]);
  }
  return findings;
}

/** The daemon that has the state directory, answering or not; null: none. */
async function holderOfStateDir({ stateDir, readLocks }: Machine): Promise<number | null> {
  if (stateDir === null) return null;
  const file = join(stateDir, 'daemon.lock');
  const about = await stat(file).catch(() => null);
  if (about === null || !holdersOf(await readLocks()).has(about.ino)) return null;
  try {
    const { pid } = JSON.parse(await readFile(file, 'utf8')) as { readonly pid?: unknown };
    return typeof pid === 'number' ? pid : null;
  } catch {
    return null;
  }
}

async function otherUser({ seen }: Machine): Promise<number | null> {
  const pid = seen?.pid ?? null;
  if (pid === null) return null;
  const about = await stat(`/proc/${pid}`).catch(() => null);
  return about === null || about.uid === process.geteuid?.() ? null : about.uid;
}
