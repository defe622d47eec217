import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { isWithin } from '../handlers/confine-dataset.ts';
import type { RPCRequester } from '../rpc/interfaces.ts';
import { checkApart } from './local-dataset.ts';
import { datasetOfPlace, openSite, selectionBelow } from './open-site.ts';
import { onlyDataset } from './peer.ts';
import type { ReplicationRequest } from './replication-request.ts';
import type { Run } from './run.ts';
import type { Site } from './site.ts';
import { UsageError } from './usage-error.ts';

/** The site of the source or target that is on this machine. */
export async function openEnd(run: Run, request: ReplicationRequest, end: 'source' | 'target'): Promise<Site> {
  return openSite(request[end], { logger: run.logger, sudo: request.sudo });
}

/**
 * Refuses two sites of one machine of which one would be stored in itself, growing with every run.
 * @throws UsageError
 */
export function checkSitesApart(
  source: Site,
  target: Site,
  request: Pick<ReplicationRequest, 'choices' | 'recursive'>,
): void {
  const [from, to] = [source.formatName(source.dataset), target.formatName(target.dataset)];
  const { exclude } = request.choices;
  if (source.backend === 'directory') {
    checkApart(from, to, exclude);
    return;
  }
  if (from === to) throw new UsageError(`source and target are the same dataset: ${from}`);
  if (!request.recursive || !isWithin(source.dataset, target.dataset)) return;
  if (!selectionBelow(source.backend, source.dataset, exclude)(target.dataset)) return;
  const inner = formatDatasetPath(target.dataset.slice(source.dataset.length));
  throw new UsageError(
    `the target ${to} lies below the source ${from}, so every run would store the copies made before; choose another ` +
      `target, or add --exclude '${inner}<'`,
  );
}

/** The name under which the source keeps its cursor for this target: stable, and different for every target. */
export function jobIdFor(target: Site): string {
  const identity = `${hostname()}\0${target.formatName(target.dataset)}`;
  return `cli_${createHash('sha256').update(identity).digest('hex').slice(0, 16)}`;
}

/** The part of a replication that source and target have to agree about. */
export interface DatasetMapping {
  /**
   * Where a dataset of the source goes.
   * @throws SnapferryError `INVALID_REQUEST` for one that is not where it was asked for
   */
  readonly target: (filesystem: DatasetPath) => DatasetPath;
  /**
   * Refuses a source that offers another number of datasets than can be meant.
   * @throws SnapferryError `DATASET_NOT_FOUND`, `INVALID_REQUEST`
   */
  readonly check: (client: RPCRequester, signal: AbortSignal) => Promise<void>;
}

/**
 * How datasets of a source become datasets of a target.
 * @param sourceRoot what becomes `targetRoot`, and what is below it goes below that; null: there is one dataset, whatever its name
 */
export function mappingBetween(sourceRoot: DatasetPath | null, targetRoot: DatasetPath): DatasetMapping {
  if (sourceRoot === null) {
    return {
      target: () => targetRoot,
      check: async (client, signal) => {
        await onlyDataset(client, signal);
      },
    };
  }
  return {
    target(filesystem) {
      if (isWithin(sourceRoot, filesystem)) return [...targetRoot, ...filesystem.slice(sourceRoot.length)];
      throw new SnapferryError(
        'INVALID_REQUEST',
        `the source offers ${formatDatasetPath(filesystem)}, which is not below ${formatDatasetPath(sourceRoot)}`,
      );
    },
    async check(client, signal) {
      const offered = await client.filesystems({ roots: null }, { signal });
      if (offered.length === 0) throw new SnapferryError('DATASET_NOT_FOUND', 'the source offers no dataset');
    },
  };
}

/** The root of a recursive replication by its source's name, null for one of a single dataset. */
export function sourceRootOf({
  recursive,
  source,
}: Pick<ReplicationRequest, 'recursive' | 'source'>): DatasetPath | null {
  return recursive ? datasetOfPlace(source) : null;
}

/** Which snapshots are to be sent; undefined for all. */
export function wantedSnapshots(
  prefix: string | null,
): { readonly isWanted: (snapshot: FilesystemVersion) => boolean } | undefined {
  return prefix === null ? undefined : { isWanted: ({ name }) => name.startsWith(prefix) };
}
