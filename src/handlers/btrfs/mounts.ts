import { readFile } from 'node:fs/promises';
import { SnapferryError } from '../../errors.ts';

/** Where a part of a btrfs file system can be seen. */
export interface Mount {
  /** Absolute path. */
  readonly point: string;
  /** What of the file system is mounted there, from its top: `/` or `/@home`. */
  readonly root: string;
}

interface ListedMount extends Mount {
  readonly type: string;
}

/** Reads `/proc/self/mountinfo`. */
export function parseMounts(text: string): ListedMount[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ', 2);
    const [, , , root, point] = before.split(' ');
    const [type] = after.split(' ');
    if (root === undefined || point === undefined || type === undefined) return [];
    return { root: unescape(root), point: unescape(point), type };
  });
}

/** Spaces, tabs, newlines and backslashes are printed as octal numbers, bytes of a name as they are. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}

/**
 * The mount through which a path is seen.
 * @param path absolute, without symlinks
 * @throws SnapferryError `INVALID_REQUEST` when that is no btrfs
 */
export async function mountOf(path: string): Promise<Mount> {
  const mounts = parseMounts(await readFile('/proc/self/mountinfo', 'utf8'));
  const found = mounts
    .filter(({ point }) => isAtOrBelow(path, point))
    // Of several at one point, the last one mounted covers the others.
    .reduce<ListedMount | null>(
      (best, mount) => (mount.point.length >= (best?.point.length ?? 0) ? mount : best),
      null,
    );
  if (found?.type === 'btrfs') return { point: found.point, root: found.root };
  const what = found === null ? 'nothing is mounted there' : `${found.point} is ${found.type}`;
  throw new SnapferryError('INVALID_REQUEST', `${path} is not on btrfs: ${what}; name a folder on btrfs`);
}

/** Whether a path is `folder` or below it; both absolute. */
export function isAtOrBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`);
}

/** Where a path from the top of the file system can be seen through a mount, or null when it cannot. */
export function throughMount(topPath: string, { point, root }: Mount): string | null {
  const path = `/${topPath}`;
  if (!isAtOrBelow(path, root)) return null;
  const below = path.slice(root === '/' ? 1 : root.length + 1);
  return below === '' ? point : `${point === '/' ? '' : point}/${below}`;
}
