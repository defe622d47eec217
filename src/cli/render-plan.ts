import { formatDatasetPath, formatVersion } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { describeConflict } from '../replication/plan.ts';
import type { Step } from '../replication/plan.ts';
import type { PlannedFilesystem } from '../replication/replication.ts';
import { formatBytes, formatChanges, printable } from './format.ts';
import type { ChangeCounts } from './format.ts';
import { formatDatasetOf, formatLocation } from './location.ts';
import type { ReplicationRequest } from './replication-request.ts';

type Planned = ReadonlyMap<bigint, ChangeCounts>;

/** The plan as a diff of what the target has: `=` is there, `+` would come. With `--recursive`, dataset by dataset. */
export function renderPlan(
  request: ReplicationRequest,
  filesystems: readonly PlannedFilesystem[],
  planned: Planned,
): string {
  const lines = [`--- ${formatLocation(request.target)}`, `+++ ${formatLocation(request.source)}`];
  for (const filesystem of filesystems) {
    if (request.recursive) {
      const name = (path: DatasetPath): string => printable(formatDatasetOf(request.source.backend, path));
      lines.push(`${name(filesystem.filesystem)} -> ${name(filesystem.target)}`);
    }
    lines.push(...linesOf(filesystem, request, planned));
  }
  if (filesystems.some(({ plan }) => plan.kind === 'steps')) {
    lines.push('nothing was changed; this is what a run would do');
  }
  return `${lines.join('\n')}\n`;
}

function linesOf({ plan }: PlannedFilesystem, { source, receive }: ReplicationRequest, planned: Planned): string[] {
  if (plan.kind === 'failed') return [`cannot be planned: ${printable(plan.error.message)} (${plan.error.code})`];
  const lines: string[] = [];
  switch (plan.kind) {
    case 'empty':
      lines.push(
        receive.fromSnapshots === null
          ? 'the source has no snapshot; leave out --no-snapshot to have one taken'
          : `the source has no snapshot whose name begins with "${receive.fromSnapshots}"`,
      );
      break;
    case 'in_sync':
      lines.push(`  ${nameOf(plan.version, planned)}`, 'nothing to do: the target is up to date');
      break;
    case 'conflict':
      lines.push(describeConflict(formatDatasetOf(source.backend, plan.filesystem), plan.conflict));
      break;
    case 'steps': {
      const [first] = plan.steps;
      if (first.from !== null) lines.push(`  ${nameOf(first.from, planned)}`);
      lines.push(...plan.steps.map((step) => stepLine(step, planned)));
    }
  }
  if (plan.discardPartial) {
    lines.push('the rest of an interrupted transfer, which is of no use any more, would be removed');
  }
  return lines;
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

/**
 * The plan for programs. A snapshot that does not exist yet has neither name nor guid. Without `--recursive` the fields of the one
 * dataset are also at the top.
 */
export function planAsJSON(request: ReplicationRequest, filesystems: readonly PlannedFilesystem[], planned: Planned) {
  const plans = filesystems.map((filesystem) => ({
    filesystem: formatDatasetPath(filesystem.filesystem),
    to: formatDatasetPath(filesystem.target),
    ...fieldsOf(filesystem, request, planned),
  }));
  const [only] = filesystems;
  return {
    command: 'plan',
    direction: request.direction,
    source: formatLocation(request.source),
    target: formatLocation(request.target),
    ...(!request.recursive && only !== undefined && fieldsOf(only, request, planned)),
    filesystems: plans,
  };
}

function fieldsOf({ plan }: PlannedFilesystem, { source }: ReplicationRequest, planned: Planned) {
  const version = (of: FilesystemVersion) => {
    const counts = planned.get(of.guid);
    return counts === undefined
      ? { type: of.type, name: of.name, guid: of.guid, creation: of.creation }
      : { type: of.type, name: null, guid: null, creation: null, planned: counts };
  };
  return {
    kind: plan.kind,
    error: plan.kind === 'failed' ? { code: plan.error.code, message: plan.error.message } : null,
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
            description: describeConflict(formatDatasetOf(source.backend, plan.filesystem), plan.conflict),
          }
        : null,
    discardsPartial: plan.kind !== 'failed' && plan.discardPartial,
  };
}
