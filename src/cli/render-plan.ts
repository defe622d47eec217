import { formatVersion } from '../dataset.ts';
import type { FilesystemVersion } from '../dataset.ts';
import { describeConflict } from '../replication/plan.ts';
import type { FilesystemPlan, Step } from '../replication/plan.ts';
import { formatBytes, formatChanges, printable } from './format.ts';
import type { ChangeCounts } from './format.ts';
import { formatLocation } from './location.ts';
import type { ReplicationRequest } from './replication-request.ts';

type Planned = ReadonlyMap<bigint, ChangeCounts>;

/** The plan as a diff of what the target has: `=` is there, `+` would come. */
export function renderPlan(request: ReplicationRequest, plan: FilesystemPlan, planned: Planned): string {
  const lines = [`--- ${formatLocation(request.target)}`, `+++ ${formatLocation(request.source)}`];
  switch (plan.kind) {
    case 'empty':
      lines.push('the source has no snapshot; leave out --no-snapshot to have one taken');
      break;
    case 'in_sync':
      lines.push(`  ${nameOf(plan.version, planned)}`, 'nothing to do: the target is up to date');
      break;
    case 'conflict':
      lines.push(describeConflict(plan.filesystem, plan.conflict));
      break;
    case 'steps': {
      const [first] = plan.steps;
      if (first.from !== null) lines.push(`  ${nameOf(first.from, planned)}`);
      lines.push(...plan.steps.map((step) => stepLine(step, planned)));
    }
  }
  if (plan.discardPartial)
    lines.push('the rest of an interrupted transfer, which is of no use any more, would be removed');
  if (plan.kind === 'steps') lines.push('nothing was changed; this is what a run would do');
  return `${lines.join('\n')}\n`;
}

function stepLine(step: Step, planned: Planned): string {
  if (planned.has(step.to.guid)) return `+ ${nameOf(step.to, planned)}`;
  const size = step.estimatedBytes === null ? 'size unknown' : `about ${formatBytes(step.estimatedBytes)}`;
  const how = step.resumeToken === null ? '' : ', going on where it was interrupted';
  return `+ ${nameOf(step.to, planned)} (${step.from === null ? 'all of it' : 'incremental'}, ${size}${how})`;
}

function nameOf(version: FilesystemVersion, planned: Planned): string {
  const counts = planned.get(version.guid);
  return counts === undefined ? printable(formatVersion(version)) : `new snapshot (${formatChanges(counts)})`;
}

/** The plan for programs. A snapshot that does not exist yet has neither name nor guid. */
export function planAsJSON(request: ReplicationRequest, plan: FilesystemPlan, planned: Planned) {
  const version = (of: FilesystemVersion) => {
    const counts = planned.get(of.guid);
    return counts === undefined
      ? { type: of.type, name: of.name, guid: of.guid, creation: of.creation }
      : { type: of.type, name: null, guid: null, creation: null, planned: counts };
  };
  return {
    command: 'plan',
    direction: request.direction,
    source: formatLocation(request.source),
    target: formatLocation(request.target),
    kind: plan.kind,
    steps:
      plan.kind === 'steps'
        ? plan.steps.map((step) => ({
            from: step.from && version(step.from),
            to: version(step.to),
            resumes: step.resumeToken !== null,
            estimatedBytes: step.estimatedBytes,
          }))
        : [],
    version: plan.kind === 'in_sync' ? version(plan.version) : null,
    conflict:
      plan.kind === 'conflict'
        ? {
            kind: plan.conflict.kind,
            source: plan.conflict.source.map(version),
            sink: plan.conflict.sink.map(version),
            description: describeConflict(plan.filesystem, plan.conflict),
          }
        : null,
    discardsPartial: plan.discardPartial,
  };
}
