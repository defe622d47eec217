import { zfsTool } from '../../handlers/zfs/commands-tool.ts';
import { listDetailsArguments } from '../../handlers/zfs/commands.ts';
import { listOurHolds } from '../../handlers/zfs/holds-ours.ts';
import type { OurTrace } from '../../handlers/zfs/holds-ours.ts';
import { versionName } from '../../handlers/zfs/names.ts';
import { parseVersionDetails } from '../../handlers/zfs/output.ts';
import type { Finding } from './finding.ts';
import { cure } from './finding.ts';
import { isAtWork } from './patient.ts';
import type { DoctorCheck, Patient, StoragePlace } from './patient.ts';

const day = 24 * 3_600_000;
/** A client may be away for so long, and a transfer may take so long, before its holds look forgotten. */
const forgottenAfterMs = 30 * day;
const namedMax = 5;

/** Holds of ours that nobody needs any more: they keep snapshots from being destroyed, and so fill the pool. */
export const holdCheck: DoctorCheck = {
  name: 'hold',
  async examine(patient) {
    const findings: Finding[] = [];
    for (const place of patient.places) {
      if (place.backend === 'zfs') findings.push(...(await examinePlace(place, patient)));
    }
    return findings;
  },
};

async function examinePlace({ path, isRecursive }: StoragePlace, patient: Patient): Promise<Finding[]> {
  const { tools, signal, nowMs } = patient.machine;
  const tool = zfsTool({ argv: tools.zfs });
  const traces = await listOurHolds(tool, { root: path, recursive: isRecursive, signal });
  if (traces.length === 0) return [];
  const doing = `looking at the versions of ${path}`;
  const { stdout } = await tool.run(listDetailsArguments(path, isRecursive), { doing, signal });
  const ages = new Map(
    parseVersionDetails(stdout).map(({ dataset, version }) => [
      versionName(dataset, version),
      version.creation === null ? 0 : nowMs - Date.parse(version.creation),
    ]),
  );
  return groupsOf(traces).flatMap((group) => {
    const ageMs = Math.max(...group.traces.map(({ name }) => ages.get(name) ?? 0));
    return describe(group, ageMs, patient) ?? [];
  });
}

interface TraceGroup {
  readonly owner: string;
  readonly identity: string;
  readonly job: string;
  readonly dataset: string;
  readonly traces: readonly OurTrace[];
}

/** By whom and where: one finding each, however many there are. */
function groupsOf(traces: readonly OurTrace[]): TraceGroup[] {
  const groups = new Map<string, OurTrace[]>();
  for (const trace of traces) {
    const key = `${trace.owner} ${trace.dataset}`;
    groups.set(key, [...(groups.get(key) ?? []), trace]);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { owner, dataset } = first;
    const end = owner.indexOf('_J_');
    return [
      { owner, dataset, identity: owner.slice('I_'.length, end), job: owner.slice(end + '_J_'.length), traces: group },
    ];
  });
}

function describe(group: TraceGroup, ageMs: number, patient: Patient): Finding | null {
  const { jobNames } = patient.machine;
  const steps = group.traces.filter(({ kind }) => kind === 'STEP');
  // What somebody did by hand, or a client of ours does, is in no configuration of this machine.
  const isOurs = group.identity === '' && !group.job.startsWith('cli_');
  if (isOurs && jobNames !== null && !jobNames.includes(group.job)) {
    const message = `${list(group.traces)} kept for the job ${group.job}, which is not in the configuration any more`;
    return { check: 'hold', severity: 'problem', subject: group.dataset, message, cures: [release(group, patient)] };
  }
  if (steps.length === 0) return null;
  const isIdle = !isAtWork(patient) && patient.status?.lastRun?.outcome === 'ok';
  if (isOurs && group.job === patient.job?.name && isIdle) {
    const message = `${list(steps)} held for a transfer of the job ${group.job}, which is not at work and whose last run went well`;
    return {
      check: 'hold',
      severity: 'problem',
      subject: group.dataset,
      message,
      cures: steps.map((step) => unhold(step, patient)),
    };
  }
  if (isOurs || ageMs < forgottenAfterMs) return null;
  const who = group.identity === '' ? 'a replication by hand' : `the client ${group.identity}`;
  const message = `${list(steps)} held for a transfer of ${who} (job ${group.job}); the snapshot is ${Math.floor(ageMs / day)} days old. If that is not coming back, release it`;
  return { check: 'hold', severity: 'notice', subject: group.dataset, message, cures: [release(group, patient)] };
}

function list(traces: readonly OurTrace[]): string {
  const names = traces.slice(0, namedMax).map(({ name }) => name);
  const more = traces.length - names.length;
  const all = more === 0 ? names.join(', ') : `${names.join(', ')} and ${more} more`;
  return `${all} ${traces.length === 1 ? 'is' : 'are'}`;
}

/** Everything of a job that is over. */
function release({ job, dataset }: TraceGroup, { machine }: Patient) {
  const sudo = machine.tools.zfs[0].endsWith('sudo') ? ['--sudo'] : [];
  return cure('release it', ['snapferry', 'release', '--job', job, ...sudo, `zfs:${dataset}`]);
}

/** One hold of a job that goes on, and needs its cursors. */
function unhold({ tag, name }: OurTrace, { machine }: Patient) {
  return cure('release it', [...machine.tools.zfs, 'release', tag ?? '', name]);
}
