import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import type { Cure, Finding } from './finding.ts';
import { advice, cure } from './finding.ts';
import type { DoctorCheck, Patient, SeenError, StoragePlace } from './patient.ts';

const rightsOf = {
  source: 'snapshot,send,hold,release,bookmark,destroy',
  target: 'receive,create,mount,canmount,mountpoint,readonly,userprop,hold,release',
} as const;

/** Something may not be read, written or done by the user that has to. */
export const permissionCheck: DoctorCheck = {
  name: 'permission',
  async examine(patient) {
    const told = patient.errors.filter(isRefusal).map((error): Finding => {
      const subject = error.dataset ?? patient.name;
      return {
        check: 'permission',
        severity: 'problem',
        subject,
        message: error.message,
        cures: curesOf(error, patient),
      };
    });
    const places = patient.places.filter(({ backend }) => backend !== 'zfs');
    const found = await Promise.all(places.map((place) => examinePlace(place, patient)));
    return [...told, ...found.filter((finding) => finding !== null)];
  },
};

function isRefusal({ code, message }: SeenError): boolean {
  if (code === 'ACCESS_DENIED') return true;
  const isOfHere = /permission denied|EACCES|EPERM|operation not permitted|must be superuser|a password is required/i;
  return code !== 'CONNECT_FAILED' && isOfHere.test(message);
}

function curesOf({ message, dataset, target }: SeenError, { job, places, machine }: Patient): Cure[] {
  const { user } = machine;
  if (job === null) return [advice('run it as the user to whom it belongs')];
  if (/sudo|a password is required/i.test(message)) {
    const tool = job.backend === 'btrfs' ? '/usr/bin/btrfs' : '/usr/sbin/zfs';
    return [
      cure('allow it without a password', ['visudo', '-f', '/etc/sudoers.d/snapferry']),
      advice(`with the line: ${user.name} ALL=(root) NOPASSWD: ${tool}`),
    ];
  }
  if (job.backend === 'zfs') {
    const isTarget = job.type === 'pull' || job.type === 'sink';
    const isLocal = job.type === 'local';
    const source = isTarget ? null : (places.find(({ role }) => role === 'source')?.path ?? dataset);
    const copy = isTarget || isLocal ? (places.find(({ role }) => role === 'target')?.path ?? target) : null;
    return [
      ...(source === null ? [] : [allow(user.name, rightsOf.source, source)]),
      ...(copy === null ? [] : [allow(user.name, rightsOf.target, copy)]),
    ];
  }
  if (job.backend === 'btrfs' && !user.isRoot) {
    return [
      advice('btrfs sends and receives for root only: set global.tools.btrfs to [sudo, -n, btrfs], or run as root'),
    ];
  }
  const place = target ?? dataset;
  return place === null ? [] : [cure('see whose it is', ['ls', '-ld', place])];
}

function allow(user: string, rights: string, dataset: string): Cure {
  return cure('as root, allow it', ['zfs', 'allow', '-u', user, rights, dataset]);
}

async function examinePlace({ path, role }: StoragePlace, { machine: { user } }: Patient): Promise<Finding | null> {
  const mode = role === 'target' ? constants.R_OK | constants.W_OK | constants.X_OK : constants.R_OK | constants.X_OK;
  try {
    await access(path, mode);
    return null;
  } catch (error) {
    if (!['EACCES', 'EPERM', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    const isReadOnly = (error as NodeJS.ErrnoException).code === 'EROFS';
    const what = role === 'target' ? 'written to' : 'read';
    const message = isReadOnly
      ? 'its file system is read-only: mounted so, or after an error of the disk'
      : `it cannot be ${what} by ${user.name}, who looks; is that the user of the daemon?`;
    const own = role === 'target' ? ['chown', user.name, path] : ['setfacl', '-R', '-m', `u:${user.name}:rX`, path];
    const cures = isReadOnly ? [cure('see why', ['dmesg', '--level', 'err'])] : [cure('as root, allow it', own)];
    return { check: 'permission', severity: 'problem', subject: path, message, cures };
  }
}
