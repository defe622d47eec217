import { lstat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SnapferryError } from '../../errors.ts';
import { openStore } from '../../handlers/directory/store.ts';
import { findStore } from '../../handlers/directory/store-layout.ts';
import { zfsTool } from '../../handlers/zfs/commands-tool.ts';
import { readState } from '../../handlers/zfs/sink-state.ts';
import type { Cure, Finding } from './finding.ts';
import { advice, cure } from './finding.ts';
import type { DoctorCheck, Patient, StoragePlace } from './patient.ts';

/** Less than this part of a file system free: snapshots and copies are about to fail. */
const freeFractionMin = 0.05;
const namedMax = 3;

/** What stores the data is not there, not whole, or full. */
export const storeCheck: DoctorCheck = {
  name: 'store',
  async examine(patient) {
    const findings: Finding[] = [];
    for (const place of patient.places) findings.push(...(await examinePlace(place, patient)));
    const isDirectory = patient.places.some(({ backend, role }) => backend === 'directory' && role !== 'source');
    for (const copy of isDirectory ? patient.copies : []) findings.push(...(await examineStore(copy, patient)));
    return findings;
  },
};

async function examinePlace(place: StoragePlace, patient: Patient): Promise<Finding[]> {
  if (place.backend === 'zfs') return examineZfs(place, patient);
  if ((await lstat(place.path).catch(() => null)) === null) return missing(place, patient);
  const full = await examineSpace(place, patient);
  const isStore = place.backend === 'directory' && place.role !== 'target';
  return [...full, ...(isStore ? await examineStore(place.path, patient) : [])];
}

/** A target that was never used is made by the first run. */
function missing({ path, role }: StoragePlace, { status, job }: Patient): Finding[] {
  const wasUsed = status !== null && (status.lastSuccessMs !== null || status.datasets.length > 0);
  if (role === 'target' && job !== null && !wasUsed) return [];
  const message =
    role === 'source' ? 'it is not there' : 'it is not there, though copies were stored in it: is its disk mounted?';
  const cures = [
    cure('see what is mounted', ['findmnt', '--target', dirname(path)]),
    cure('mount what belongs there', ['mount', '-a']),
  ];
  return [{ check: 'store', severity: 'problem', subject: path, message, cures }];
}

async function examineSpace({ path, role }: StoragePlace, { job }: Patient): Promise<Finding[]> {
  const { bavail, blocks, ffree, files } = await statfs(path);
  const isShort = blocks > 0 && bavail / blocks < freeFractionMin;
  const hasFewFiles = files > 0 && ffree / files < freeFractionMin / 5;
  if (!isShort && !hasFewFiles) return [];
  const what = isShort
    ? `${Math.floor((100 * bavail) / blocks)} % of its space are free`
    : 'hardly any inodes are free';
  const cures: Cure[] = [cure('see how full it is', ['df', isShort ? '-h' : '-i', path])];
  const side = role === 'target' ? 'receiver' : 'sender';
  if (job !== null && job.pruning[side] !== null) {
    cures.push(cure('see what retention would remove', ['snapferry', 'test', 'retention', job.name]));
  }
  return [{ check: 'store', severity: 'notice', subject: path, message: `only ${what}`, cures }];
}

async function examineZfs({ path, role }: StoragePlace, { machine: { tools, signal } }: Patient): Promise<Finding[]> {
  const tool = zfsTool({ argv: tools.zfs });
  if ((await readState(tool, path, signal)) !== null) return [];
  const pool = path.split('/', 1)[0] ?? path;
  const isPoolThere = (await readState(tool, pool, signal)) !== null;
  if (!isPoolThere) {
    const cures = [cure('import it', ['zpool', 'import', pool])];
    return [{ check: 'store', severity: 'problem', subject: path, message: `the pool ${pool} is not imported`, cures }];
  }
  const make = cure('make it', ['zfs', 'create', '-p', '-o', 'canmount=off', '-o', 'mountpoint=none', path]);
  const cures = role === 'source' ? [advice('correct "filesystems" of the job')] : [make];
  return [{ check: 'store', severity: 'problem', subject: path, message: 'there is no such dataset', cures }];
}

async function examineStore(directory: string, { job }: Patient): Promise<Finding[]> {
  try {
    if ((await findStore(directory)) === null) return [];
    const store = await openStore(directory);
    const newest = await store.newest();
    if (newest === null) return [];
    const { missing: left } = await store.header(newest.name);
    if (left.length === 0) return [];
    const names = left.slice(0, namedMax).join(', ');
    const more = left.length > namedMax ? ` and ${left.length - namedMax} more` : '';
    const message = `its newest snapshot, ${newest.name}, is incomplete: ${names}${more} could not be read at the source`;
    const cures = [advice('let the user of snapferry read them there, or leave them out with "exclude" of the job')];
    if (job !== null) cures.push(cure('then take another one', ['snapferry', 'signal', job.name, 'wakeup']));
    return [{ check: 'store', severity: 'problem', subject: directory, message, cures }];
  } catch (error) {
    if (!(error instanceof SnapferryError) || error.code !== 'SOURCE_FAILED') throw error;
    const cures = [cure('see what of it is whole', ['snapferry', 'verify', directory]), advice(asideAdvice(directory))];
    return [
      { check: 'store', severity: 'problem', subject: directory, message: `it is damaged: ${error.message}`, cures },
    ];
  }
}

function asideAdvice(directory: string): string {
  return `if only one snapshot is concerned, move its manifest (${join(directory, 'manifests')}) and tree away, and run the job again`;
}
