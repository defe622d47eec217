import { SnapferryError } from '../errors.ts';
import { formatDatasetPath, sameDataset } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { openStore } from '../handlers/directory/store.ts';
import type { SnapshotHeader } from '../handlers/directory/manifest.ts';
import { verifySnapshot } from '../handlers/directory/verify.ts';
import { LocalRPC } from '../rpc/local-rpc.ts';
import { defaultSend } from './choices.ts';
import { versionInDocument } from './documents.ts';
import type { ListDocument, SnapshotDocument, TracesDocument, VerifyDocument } from './documents.ts';
import { selectionBelow } from './open-site.ts';
import type { ReleaseCommand, SnapshotCommand } from './remote-command.ts';
import type { Run } from './run.ts';
import { showProgress } from './show-progress.ts';
import type { Site, TakenSnapshot, Trace } from './site.ts';
import { UsageError } from './usage-error.ts';

/** Which datasets of a site somebody may look at. */
export interface Scope {
  readonly recursive: boolean;
  /** Default: all. */
  readonly may?: (filesystem: DatasetPath) => boolean;
}

/** Lists the versions of a site on this machine. */
export async function listSite(run: Run, site: Site, { recursive, may = () => true }: Scope): Promise<ListDocument> {
  const base = { command: 'list', location: site.formatName(site.dataset) } as const;
  if (site.backend === 'directory') {
    const { kind, versions } = await listDirectory(base.location);
    return { ...base, kind, versions, datasets: null };
  }
  const handler = site.source({ recursive, select: may, send: defaultSend });
  await using client = LocalRPC.connect(handler, { logger: run.logger });
  const options = { signal: run.signal };
  const filesystems = recursive ? await client.filesystems({ roots: null }, options) : [site.dataset];
  const datasets = await Promise.all(
    filesystems.map(async (filesystem) => {
      const versions = await client.filesystemVersions({ filesystem }, options);
      return { filesystem, versions: versions.map(listedWithoutSize) };
    }),
  );
  const own = datasets.find(({ filesystem }) => sameDataset(filesystem, site.dataset));
  const all = datasets.map(({ filesystem, versions }) => ({ dataset: formatDatasetPath(filesystem), versions }));
  return { ...base, kind: null, versions: own?.versions ?? [], datasets: recursive ? all : null };
}

function listedWithoutSize(version: FilesystemVersion) {
  return { ...versionInDocument(version), entries: null, bytes: null, missing: null };
}

async function listDirectory(directory: string): Promise<Pick<ListDocument, 'kind' | 'versions'>> {
  const store = await openStore(directory);
  const versions = await store.versions();
  return {
    kind: store.kind,
    versions: await Promise.all(
      versions.map(async (version) => {
        const header = await headerOrNull(() => store.headerOf(version));
        return {
          ...versionInDocument(version),
          entries: header?.entries ?? null,
          bytes: header?.bytes ?? null,
          missing: header?.missing.length ?? null,
        };
      }),
    ),
  };
}

/** One that was removed while the list was made has no size any more. */
async function headerOrNull(read: () => Promise<SnapshotHeader>): Promise<SnapshotHeader | null> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'VERSION_NOT_FOUND') return null;
    throw error;
  }
}

/** Takes snapshots of a site on this machine, of what has changed. */
export async function snapshotSite(
  { terminal, logger, signal }: Run,
  site: Site,
  { choices, dryRun, force }: Pick<SnapshotCommand, 'choices' | 'dryRun' | 'force'>,
  { recursive, may = () => true }: Scope,
): Promise<SnapshotDocument> {
  const isMeant = selectionBelow(site.backend, site.dataset, choices.exclude);
  const select = (filesystem: DatasetPath): boolean => isMeant(filesystem) && may(filesystem);
  const progress = (news: Parameters<typeof showProgress>[1]): void => showProgress(terminal, news);
  const all = await site.takeSnapshots({ choices, recursive, dryRun, force, select }, { signal, logger, progress });
  if (all.length === 0) {
    const why = 'it is a copy made by snapferry, which only receives, or has nothing to be kept';
    throw new UsageError(`no snapshot is taken of ${site.formatName(site.dataset)}: ${why}`);
  }
  const own = all.find(({ dataset }) => sameDataset(dataset, site.dataset));
  return {
    command: 'snapshot',
    location: site.formatName(site.dataset),
    dryRun,
    ...(own === undefined ? nothingTaken : inDocument(own)),
    datasets: recursive
      ? all.map((taken) => ({ dataset: formatDatasetPath(taken.dataset), ...inDocument(taken) }))
      : null,
  };
}

const nothingTaken = {
  taken: false,
  snapshot: null,
  added: null,
  changed: null,
  removed: null,
  bytes: null,
  notices: [],
  missing: [],
};

function inDocument({ isTaken, version, changes, notices, missing }: TakenSnapshot) {
  return {
    taken: isTaken,
    snapshot: version && versionInDocument(version),
    ...changes,
    notices: [...notices],
    missing: [...missing],
  };
}

/** Compares a snapshot of a directory on this machine with its manifest; null means the newest. */
export async function verifySite(
  { terminal, signal }: Run,
  site: Site,
  snapshot: string | null,
): Promise<VerifyDocument> {
  const directory = verifiableDirectory(site);
  const report = await verifySnapshot(directory, snapshot, {
    signal,
    onProgress: (progress) => showProgress(terminal, progress),
  });
  return {
    command: 'verify',
    location: directory,
    snapshot: versionInDocument(report.version),
    ok: report.damaged.length === 0,
    files: report.files,
    bytes: report.bytes,
    damaged: [...report.damaged],
  };
}

/** The other backends have checksums of their own, and better ones. @throws UsageError */
function verifiableDirectory({ backend, dataset, formatName }: Site): string {
  const name = formatName(dataset);
  if (backend === 'directory') return name;
  const [tool, command] =
    backend === 'zfs'
      ? ['ZFS', `zpool scrub ${dataset[0] ?? ''}; zpool status -v`]
      : ['btrfs', `btrfs scrub start -B ${name.slice('btrfs:'.length)}`];
  throw new UsageError(`verify reads copies of directories; of ${name} ${tool} itself checks every block: ${command}`);
}

/** Lists what of ours protects versions of a site on this machine. */
export async function listTraces(run: Run, site: Site, scope: Scope & { job: string | null }): Promise<TracesDocument> {
  const { recursive, job, may = () => true } = scope;
  const traces = await site.traces({ recursive, job, select: may }, run.signal);
  return tracesIn('holds', site, traces, true);
}

/** Removes that. */
export async function releaseTraces(
  run: Run,
  site: Site,
  { recursive, job, dryRun }: Pick<ReleaseCommand, 'recursive' | 'job' | 'dryRun'>,
): Promise<TracesDocument> {
  const request = { recursive, job, select: () => true };
  const traces = await (dryRun ? site.traces(request, run.signal) : site.release(request, run.signal));
  return tracesIn('release', site, traces, dryRun);
}

function tracesIn(command: 'holds' | 'release', site: Site, traces: readonly Trace[], dryRun: boolean): TracesDocument {
  return {
    command,
    location: site.formatName(site.dataset),
    dryRun,
    traces: traces.map((trace) => ({ ...trace, dataset: formatDatasetPath(trace.dataset) })),
  };
}

/** The version that a location with `@SNAPSHOT` means; without, the newest snapshot. */
export function chooseSnapshot(
  versions: readonly FilesystemVersion[],
  name: string | null,
  where: string,
): FilesystemVersion {
  const snapshots = versions.filter((version) => version.type === 'snapshot');
  const found = name === null ? snapshots.at(-1) : snapshots.find((version) => version.name === name);
  if (found !== undefined) return found;
  if (snapshots.length === 0) throw new SnapferryError('VERSION_NOT_FOUND', `${where} has no snapshot`);
  const newest = snapshots.slice(-5).map((version) => `@${version.name}`);
  const which = snapshots.length > newest.length ? 'the newest are' : 'it has';
  throw new SnapferryError(
    'VERSION_NOT_FOUND',
    `${where} has no snapshot @${name ?? ''}; ${which} ${newest.join(', ')}`,
  );
}
