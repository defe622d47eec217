import { parseDatasetFilter } from '../dataset-filter.ts';
import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { defaultReceive, defaultSend } from './choices.ts';
import type { ReceiveChoices, SendChoices } from './choices.ts';
import type { Backend, Place } from './location.ts';
import type { Site, SiteAccess } from './site.ts';
import { UsageError } from './usage-error.ts';

/**
 * The site of a place on this machine. Only the backend that is asked for is loaded.
 * @throws UsageError for a place that cannot be one
 */
export async function openSite(place: Place, { logger, sudo }: SiteAccess): Promise<Site> {
  switch (place.backend) {
    case 'directory':
      return (await import('./directory-site.ts')).directorySite(place.path, logger);
    case 'zfs':
      return (await import('./zfs-site.ts')).zfsSite(place.path, { logger, sudo });
    case 'btrfs':
      return (await import('./btrfs-site.ts')).btrfsSite(place.path, { logger, sudo });
  }
}

/** The name on the wire of the dataset at a place of another machine, as far as the place tells: a directory's may be relative. */
export function datasetOfPlace({ backend, path }: Place): DatasetPath | null {
  if (backend === 'directory') return null;
  return path.replace(/^\//, '').replace(/\/$/, '').split('/');
}

/** What of the command line depends on the backend. */
export interface BackendOptions {
  readonly recursive: boolean;
  readonly sudo: boolean;
  readonly send?: SendChoices;
  readonly receive?: ReceiveChoices;
}

const backendNames: Readonly<Record<Backend, string>> = { directory: 'a directory', zfs: 'ZFS', btrfs: 'btrfs' };

/** A backend as a sentence names it. */
export function describeBackend(backend: Backend): string {
  return backendNames[backend];
}

/**
 * Refuses options that the backend has no use for, rather than to leave their user in the belief that they did something.
 * @throws UsageError
 */
export function checkBackendOptions(backend: Backend, options: BackendOptions): void {
  const { recursive, sudo, send = defaultSend, receive = defaultReceive } = options;
  const refuse = (option: string, why: string): never => {
    throw new UsageError(`${option} makes no sense for ${describeBackend(backend)}: ${why}`);
  };
  if (backend === 'zfs') return;
  const onlyZFS = 'it is an option of ZFS';
  if (send.raw) refuse('--raw', onlyZFS);
  if (send.properties) refuse('--send-properties', onlyZFS);
  if (receive.options.length > 0) refuse('--recv-option', onlyZFS);
  if (receive.exclude.length > 0) refuse('--recv-exclude', onlyZFS);
  if (receive.placeholderEncryption !== null) refuse('--placeholder-encryption', onlyZFS);
  if (backend === 'btrfs') return;
  if (recursive) refuse('--recursive', 'its snapshot has everything below it');
  if (sudo) refuse('--sudo', 'run snapferry itself as the user who may read and write there');
}

/**
 * Which datasets below `root` are meant: all but those that a pattern of a dataset filter, relative to the root, leaves out.
 * The root itself always is. For a directory, whose patterns are of files, all.
 * @throws UsageError naming a pattern that cannot be read, or is not relative
 */
export function selectionBelow(
  backend: Backend,
  root: DatasetPath,
  exclude: readonly string[],
): (filesystem: DatasetPath) => boolean {
  if (backend === 'directory') return () => true;
  for (const pattern of exclude) checkRelative(pattern, root);
  let filter;
  try {
    filter = parseDatasetFilter([['<', true], ...[...new Set(exclude)].map((pattern) => [pattern, false] as const)]);
  } catch (error) {
    throw new UsageError(`--exclude: ${(error as Error).message}`, { cause: error });
  }
  return (filesystem) => filesystem.length <= root.length || filter.matches(filesystem.slice(root.length));
}

/** A pattern with the root in it would silently leave out nothing. */
function checkRelative(pattern: string, root: DatasetPath): void {
  if (pattern === '<')
    throw new UsageError('--exclude "<" would leave out everything but the root; leave out --recursive');
  const name = formatDatasetPath(root);
  const relative = pattern.startsWith(`${name}/`) ? pattern.slice(name.length + 1) : null;
  if (relative === null) return;
  throw new UsageError(`--exclude ${pattern}: patterns are relative to ${name}; write ${relative}`);
}
