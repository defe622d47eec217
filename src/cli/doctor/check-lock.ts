import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readLockOwner } from '../../handlers/lock.ts';
import type { Finding } from './finding.ts';
import { cure } from './finding.ts';
import { isAtWork } from './patient.ts';
import type { DoctorCheck, Patient } from './patient.ts';

/** A lock that is held by something that should not hold it, or for too long. Looks without touching any lock. */
export const lockCheck: DoctorCheck = {
  name: 'lock',
  async examine(patient) {
    const { machine, job, places, copies } = patient;
    const held = holdersOf(await machine.readLocks());
    const files: string[] = [];
    if (job !== null && machine.stateDir !== null) files.push(join(machine.stateDir, 'locks', `${job.name}.lock`));
    for (const { backend, path, role } of places) {
      if (backend === 'directory' && role !== 'target') files.push(join(path, '.snapferry', 'lock'));
      if (backend === 'directory' && role === 'either') files.push(join(path, 'lock'));
    }
    if (places.some(({ backend, role }) => backend === 'directory' && role !== 'source')) {
      files.push(...copies.map((copy) => join(copy, 'lock')));
    }
    const findings = await Promise.all([...new Set(files)].map((file) => examineLock(file, held, patient)));
    return findings.filter((finding) => finding !== null);
  },
};

/** Process ids by inode, of every `flock` of this machine. */
export function holdersOf(procLocks: string): Map<number, number> {
  const holders = new Map<number, number>();
  for (const line of procLocks.split('\n')) {
    // 1: FLOCK  ADVISORY  WRITE 385 fe:00:2148039 0 EOF; a line with "->" waits and holds nothing.
    const match = /^\d+: FLOCK\s+\w+\s+WRITE\s+(-?\d+) [0-9a-f]+:[0-9a-f]+:(\d+) /.exec(line);
    if (match !== null) holders.set(Number(match[2]), Number(match[1]));
  }
  return holders;
}

async function examineLock(file: string, held: Map<number, number>, patient: Patient): Promise<Finding | null> {
  const about = await stat(file).catch(() => null);
  const holder = about === null ? undefined : held.get(about.ino);
  // A file that nobody holds is no lock: they stay when they are released.
  if (holder === undefined || isAtWork(patient)) return null;
  const who = await readLockOwner(file);
  const common = { check: 'lock', subject: file };
  if (who?.isGone === false) {
    const message = `process ${who.pid} holds it since ${who.since}: another snapferry that is at work, or hangs`;
    const cures = [
      cure('see what it does', ['ps', '-o', 'pid,user,lstart,stat,args', '-p', String(who.pid)]),
      cure('end it, if it hangs', ['kill', String(who.pid)]),
    ];
    return { ...common, severity: 'notice', message, cures };
  }
  const gone = who === null ? 'does not say whose it is' : `says it is of process ${who.pid}, which is gone`;
  const message = `it is held, and ${gone}: what holds it has been left behind, and nothing else can work there`;
  const cures = [
    cure('see what it is', ['fuser', '-v', file]),
    // 0 and -1: of another container.
    holder > 0 ? cure('end it', ['kill', String(holder)]) : cure('end it', ['fuser', '-k', '-TERM', file]),
  ];
  return { ...common, severity: 'problem', message, cures };
}
