import { lstat, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { SnapferryError } from '../errors.ts';

/**
 * Where a path really leads, symlinks resolved, if that is one of `roots` or below it; else null. The path may not exist
 * yet: then what exists of it is resolved, and the rest is what would be created. The caller must go on with the
 * result, never with the path it was asked for.
 * @throws SnapferryError `ACCESS_DENIED` for a path with `..`, through a symlink to nowhere, or that cannot be looked at
 */
export async function confinePath(path: string, roots: readonly string[]): Promise<string | null> {
  if (path === '' || path.includes('\0') || path.split('/').includes('..')) {
    throw new SnapferryError('ACCESS_DENIED', `${JSON.stringify(path)} is refused: it is empty or has ".." in it`);
  }
  const real = await resolveReally(resolve(path));
  for (const root of roots) {
    const realRoot = await resolveReally(resolve(root));
    if (real === realRoot || real.startsWith(realRoot === '/' ? '/' : `${realRoot}/`)) return real;
  }
  return null;
}

async function resolveReally(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || path === '/') throw cannotLook(path, error);
    // A symlink to nowhere has no real path either, but whatever creates the path would follow it.
    const isThere = await lstat(path).catch(() => null);
    if (isThere !== null) throw cannotLook(path, error);
    return join(await resolveReally(dirname(path)), basename(path));
  }
}

function cannotLook(path: string, error: unknown): SnapferryError {
  const why = (error as NodeJS.ErrnoException).code ?? 'unknown';
  return new SnapferryError('ACCESS_DENIED', `${path} is refused: it cannot be resolved (${why})`, { cause: error });
}
