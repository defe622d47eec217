import type { SinkPlace, SourcePattern } from '../config/source-patterns.ts';
import type { IdentityRights } from '../config/stdinserver-configuration.ts';
import { parseDatasetFilter, parsePattern } from '../dataset-filter.ts';
import type { DatasetFilter } from '../dataset-filter.ts';
import { sameDataset } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { isWithin, placeOfIdentity } from '../handlers/confine-dataset.ts';
import { confinePath } from '../handlers/confine-path.ts';
import { datasetOfPlace, openSite } from './open-site.ts';
import { formatPlace } from './location.ts';
import type { Backend, Place } from './location.ts';
import type { Run } from './run.ts';
import type { Site } from './site.ts';

/** What an identity may do with one location, or with one and what is below it. */
export interface Grant {
  /** Where the location really leads; only this may be used from now on. */
  readonly site: Site;
  readonly mayRead: (filesystem: DatasetPath) => boolean;
  readonly mayStore: (filesystem: DatasetPath) => boolean;
}

/** What is asked for. */
export interface GrantRequest {
  readonly identity: string;
  readonly rights: IdentityRights;
  readonly place: Place;
  readonly recursive: boolean;
}

/**
 * What the rights say about a location. Symlinks cannot lead out of the directories they name, nor can `..`.
 * @throws SnapferryError `ACCESS_DENIED` when they allow nothing there
 */
export async function grantFor({ logger }: Pick<Run, 'logger'>, request: GrantRequest): Promise<Grant> {
  const { identity, rights, recursive } = request;
  const place = await resolvePlace(request.place);
  const readable = await readableRoots(place.backend, rights.sources);
  const storable = await placeOfSink(identity, rights.sink, place.backend);
  const mayStore = (filesystem: DatasetPath): boolean => storable !== null && isWithin(storable, filesystem);
  const site = await openSite(place, { logger, sudo: rights.sudo });
  const isAllowed = readable.matches(site.dataset) || mayStore(site.dataset);
  const isOverlapping = recursive && readable.roots.some((root) => overlaps(root, site.dataset));
  if (!isAllowed && !isOverlapping) {
    const text = `${identity} may neither read nor store ${JSON.stringify(formatPlace(request.place))}`;
    throw new SnapferryError('ACCESS_DENIED', text);
  }
  return { site, mayRead: readable.matches, mayStore };
}

/** What an identity may read of one backend. */
export interface ReadableRoots extends DatasetFilter {
  /** One of the places, for whoever needs the backend and no certain place of it. */
  readonly anyPlace: Place;
}

/** The sources of one backend as a filter of datasets by their names on the wire, symlinks resolved. */
export async function readableRoots(backend: Backend, sources: readonly SourcePattern[]): Promise<ReadableRoots> {
  const own = sources.filter((source) => source.backend === backend);
  const rules = await Promise.all(
    own.map(async ({ pattern, isMeant }) => [await resolvePattern(backend, pattern), isMeant] as const),
  );
  const filter = parseDatasetFilter(new Map(rules));
  const [first] = filter.roots;
  const name = first?.path.join('/') ?? '';
  const anyPlace: Place = { backend, path: backend === 'zfs' ? name || 'pool' : `/${name}` };
  return { ...filter, anyPlace };
}

async function resolvePattern(backend: Backend, pattern: string): Promise<string> {
  const { path, isSubtree } = parsePattern(pattern);
  if (backend === 'zfs' || path.length === 0) return pattern;
  return `${(await resolveDirectory(`/${path.join('/')}`)).slice(1)}${isSubtree ? '<' : ''}`;
}

/** The place a sink keeps for an identity; null where it may store nothing, or is a directory, in which it names the place itself. */
export function placeToStore(identity: string, sink: SinkPlace | null): Place | null {
  if (sink === null || sink.backend === 'directory') return null;
  const root = datasetOfPlace(sink) ?? [];
  const place = placeOfIdentity(root, identity).join('/');
  return { backend: sink.backend, path: sink.backend === 'zfs' ? place : `/${place}` };
}

/** Name on the wire of what an identity may store into, at or below. */
async function placeOfSink(identity: string, sink: SinkPlace | null, backend: Backend): Promise<DatasetPath | null> {
  if (sink?.backend !== backend) return null;
  const place = await resolvePlace(placeToStore(identity, sink) ?? sink);
  return datasetOfPlace(place) ?? place.path.slice(1).split('/');
}

async function resolvePlace(place: Place): Promise<Place> {
  return place.backend === 'zfs' ? place : { ...place, path: await resolveDirectory(place.path) };
}

/** @throws SnapferryError `ACCESS_DENIED` as {@link confinePath} does */
async function resolveDirectory(path: string): Promise<string> {
  const real = await confinePath(path, ['/']);
  if (real === null) throw new SnapferryError('ACCESS_DENIED', `${path} is refused: it leads nowhere`);
  return real;
}

function overlaps({ path, isSubtree }: { readonly path: DatasetPath; readonly isSubtree: boolean }, root: DatasetPath) {
  return isWithin(root, path) || (isSubtree ? isWithin(path, root) : sameDataset(path, root));
}
