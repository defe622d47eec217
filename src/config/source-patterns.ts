import { z } from 'zod';
import { parsePattern } from '../dataset-filter.ts';

/** Which datasets of one backend an identity may read: a pattern of a dataset filter, and whether it allows or forbids. */
export interface SourcePattern {
  readonly backend: SourceBackend;
  /** `tank/home<`: of ZFS a dataset's name; of the others an absolute path without the slash in front. */
  readonly pattern: string;
  readonly isMeant: boolean;
}

/** What keeps the snapshots of a source or a sink. */
export type SourceBackend = 'directory' | 'zfs' | 'btrfs';

/** Where an identity may store. */
export interface SinkPlace {
  readonly backend: SourceBackend;
  /** Of ZFS a dataset's name, of the others an absolute path. */
  readonly path: string;
}

const schemes: Readonly<Record<string, SourceBackend>> = { dir: 'directory', zfs: 'zfs', btrfs: 'btrfs' };

/**
 * `sources` of an identity: a list of locations, each with all below it, or a map of patterns to true or false, of which the most
 * specific decides.
 */
export const sourcePatterns = z.unknown().transform((value, context): SourcePattern[] => {
  const patterns: SourcePattern[] = [];
  const add = (key: string | number, text: string, isMeant: boolean, ofList: boolean): void => {
    const result = readPattern(text, isMeant, ofList);
    if (typeof result === 'string') context.addIssue({ code: 'custom', path: [key], message: result });
    else patterns.push(result);
  };
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      if (typeof item === 'string') add(index, item, true, true);
      else context.addIssue({ code: 'custom', path: [index], message: 'expected a location' });
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, isMeant] of Object.entries(value)) {
      if (typeof isMeant === 'boolean') add(key, key, isMeant, false);
      else context.addIssue({ code: 'custom', path: [key], message: 'expected true or false' });
    }
  } else {
    context.addIssue({
      code: 'custom',
      message: 'expected a list of locations, e.g. [/srv/data, zfs:tank/home], or a map of patterns to true or false',
    });
  }
  return patterns;
});

/** A pattern, or what is wrong with it. */
function readPattern(text: string, isMeant: boolean, ofList: boolean): SourcePattern | string {
  const place = readScheme(text);
  if (typeof place === 'string') return place;
  const { backend, path } = place;
  const pattern = ofList && !path.endsWith('<') ? `${path}<` : path;
  const relative = backend === 'zfs' ? pattern : pattern.slice(1);
  try {
    if (parsePattern(relative).path.length === 0 && backend === 'directory') return 'must name a directory below /';
  } catch (error) {
    return (error as Error).message;
  }
  if (backend === 'directory' && !isMeant) {
    return 'cannot be false: the snapshot of a directory has everything below it, so exclude that when it is taken';
  }
  return { backend, pattern: relative, isMeant };
}

/** `sink` of an identity. */
export const sinkPlace = z.string({ error: 'expected a location' }).transform((text, context): SinkPlace => {
  const place = readScheme(text);
  if (typeof place !== 'string') {
    try {
      if (!parsePattern(place.backend === 'zfs' ? place.path : place.path.slice(1)).isSubtree) return place;
      context.addIssue({ code: 'custom', message: 'must be a location, not a pattern with "<"' });
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
    }
  } else context.addIssue({ code: 'custom', message: place });
  return z.NEVER;
});

/** Backend and path of a location on this machine, or what is wrong with it. */
function readScheme(text: string): SinkPlace | string {
  const match = /^(dir|zfs|btrfs):(.*)$/s.exec(text);
  const backend = schemes[match?.[1] ?? 'dir'] ?? 'directory';
  const path = (match?.[2] ?? text).replace(/(?<=.)\/$/, '');
  if (backend === 'zfs') {
    return path.startsWith('/') || path === '' ? 'must name a ZFS dataset, e.g. zfs:tank/home' : { backend, path };
  }
  if (!path.startsWith('/')) return 'must be an absolute path, e.g. /srv/data, or begin with zfs:';
  if (path.split('/').includes('..')) return 'must not have ".." in it';
  return { backend, path };
}
