import type { TracesDocument } from './documents.ts';
import { printable } from './format.ts';
import { listTraces, releaseTraces } from './inspect.ts';
import { parseLocation } from './location.ts';
import type { LocalLocation } from './location.ts';
import { checkBackendOptions, openSite } from './open-site.ts';
import type { ConnectionFlags, DatasetFlags, OutputFlags, SudoFlags } from './options.ts';
import type { Run } from './run.ts';
import { renderTable } from './table.ts';

/** The options of `holds`. */
export interface TraceFlags extends OutputFlags, ConnectionFlags, SudoFlags, DatasetFlags {
  readonly job?: string;
}

/** The options of `release`. */
export interface ReleaseFlags extends TraceFlags {
  readonly allJobs?: boolean;
  readonly dryRun?: boolean;
}

/** What of ours protects versions of a location, or null: in every pool of this machine. */
export async function holdsAnywhere(run: Run, text: string | null, flags: TraceFlags): Promise<TracesDocument> {
  const location = text === null ? null : parseLocation(text);
  const recursive = flags.recursive === true;
  const sudo = (location?.kind === 'remote' ? flags.remoteSudo : flags.sudo) === true;
  checkBackendOptions(location?.backend ?? 'zfs', { recursive, sudo });
  if (location?.kind !== 'remote') return holdsHere(run, location, flags);
  const [{ remoteDocument }, { tracesDocument }] = [
    await import('./remote-document.ts'),
    await import('./documents.ts'),
  ];
  const command = { command: 'holds', json: true, place: location, recursive, sudo } as const;
  const document = await remoteDocument(run, location, command, flags, tracesDocument);
  return { ...document, traces: document.traces.filter(({ job }) => flags.job === undefined || job === flags.job) };
}

async function holdsHere(run: Run, location: LocalLocation | null, flags: TraceFlags): Promise<TracesDocument> {
  const access = { logger: run.logger, sudo: flags.sudo === true };
  const job = flags.job ?? null;
  if (location !== null) {
    return listTraces(run, await openSite(location, access), { recursive: flags.recursive === true, job });
  }
  const { listPools, zfsSite } = await import('./zfs-site.ts');
  const traces: TracesDocument['traces'] = [];
  for (const pool of await listPools(access, run.signal)) {
    traces.push(...(await listTraces(run, zfsSite(pool, access), { recursive: true, job })).traces);
  }
  return { command: 'holds', location: null, dryRun: true, traces };
}

/** Removes what of ours protects versions of a location. */
export async function releaseAnywhere(run: Run, text: string, flags: ReleaseFlags): Promise<TracesDocument> {
  const location = parseLocation(text);
  const recursive = flags.recursive === true;
  const [job, dryRun] = [flags.job ?? null, flags.dryRun === true];
  const sudo = (location.kind === 'local' ? flags.sudo : flags.remoteSudo) === true;
  checkBackendOptions(location.backend, { recursive, sudo });
  if (location.kind === 'local') {
    return releaseTraces(run, await openSite(location, { logger: run.logger, sudo }), { recursive, job, dryRun });
  }
  const [{ remoteDocument }, { tracesDocument }] = [
    await import('./remote-document.ts'),
    await import('./documents.ts'),
  ];
  const command = { command: 'release', json: true, place: location, recursive, sudo, job, dryRun } as const;
  return remoteDocument(run, location, command, flags, tracesDocument);
}

/** A table for people; one line where there is nothing. */
export function renderTraces({ traces }: TracesDocument): string {
  if (traces.length === 0) return 'nothing of ours is there\n';
  const rows = traces.map(({ name, kind, identity, job }) => [
    kind,
    printable(job),
    printable(identity) || '-',
    printable(name),
  ]);
  return renderTable([{ title: 'KIND' }, { title: 'JOB' }, { title: 'FOR' }, { title: 'NAME' }], rows);
}
