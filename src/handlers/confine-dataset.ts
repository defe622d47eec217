import { checkDatasetPath, formatDatasetPath, sameDataset } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import type { ReplicationSink } from '../sink.ts';

/**
 * The place of one client below a sink's root: `backup/web1` for the root `backup` and the identity `web1`.
 * @throws SnapferryError `ACCESS_DENIED` for an identity that cannot be one component of a dataset's name
 */
export function placeOfIdentity(root: DatasetPath, identity: string): DatasetPath {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.:-]*$/.test(identity)) {
    throw new SnapferryError(
      'ACCESS_DENIED',
      `the identity ${JSON.stringify(identity)} cannot name a place below ${formatDatasetPath(root)}: ` +
        'letters, digits, "_", ".", ":" and "-" only, and none of the last three in front',
    );
  }
  const place = [...root, identity];
  checkDatasetPath(place);
  return place;
}

/** Whether `filesystem` is `place` or lies below it. */
export function isWithin(place: DatasetPath, filesystem: DatasetPath): boolean {
  return filesystem.length >= place.length && sameDataset(place, filesystem.slice(0, place.length));
}

/**
 * A sink that stores nothing outside `place`, and tells nothing of what is there, whatever names it is given: for a peer that
 * chooses the names. Refuses with `ACCESS_DENIED`.
 */
export function confinedSink(sink: ReplicationSink, place: DatasetPath): ReplicationSink {
  const confine = (filesystem: DatasetPath): DatasetPath => {
    checkDatasetPath(filesystem);
    if (isWithin(place, filesystem)) return filesystem;
    throw new SnapferryError(
      'ACCESS_DENIED',
      `${formatDatasetPath(filesystem)} is not below ${formatDatasetPath(place)}, where this client may store`,
    );
  };
  const missing = sink.missing?.bind(sink);
  const settle = sink.settle?.bind(sink);
  return {
    filesystemVersions: async (filesystem, signal) => sink.filesystemVersions(confine(filesystem), signal),
    resumeState: async (filesystem, signal) => sink.resumeState(confine(filesystem), signal),
    discardPartial: async (filesystem) => sink.discardPartial(confine(filesystem)),
    createParents: async (filesystem) => sink.createParents(confine(filesystem)),
    async receive(request, bytes, signal) {
      try {
        confine(request.filesystem);
      } catch (error) {
        // Whoever sends must learn that nobody will read.
        await bytes[Symbol.asyncIterator]().return?.();
        throw error;
      }
      return sink.receive(request, bytes, signal);
    },
    ...(missing && { missing: async (filesystem, version) => missing(confine(filesystem), version) }),
    ...(settle && { settle: async (filesystem, version) => settle(confine(filesystem), version) }),
  };
}
