import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

const filesMax = 1000;

/**
 * The files that one entry of `include` means: the file itself, every `*.yml` of a folder, or what matches a pattern with `*` and
 * `?` in its last part. Sorted by name.
 * @param from the file that has the entry, to which it is relative
 * @throws Error with what is wrong with the entry
 */
export function includedFiles(entry: string, from: string): string[] {
  const path = resolve(dirname(from), entry);
  if (/[*?]/.test(entry)) return matches(path, entry);
  let isFolder;
  try {
    isFolder = statSync(path).isDirectory();
  } catch (error) {
    throw new Error(`cannot include ${path}: ${reason(error)}`, { cause: error });
  }
  return isFolder ? listed(path, /^[^.].*\.yml$/) : [path];
}

function matches(path: string, entry: string): string[] {
  const folder = dirname(path);
  if (/[*?]/.test(folder)) throw new Error(`"${entry}" has a pattern that is not in its last part`);
  const pattern = basename(path)
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return listed(folder, new RegExp(`^(?!\\.)${pattern}$`, 'u'));
}

function listed(folder: string, pattern: RegExp): string[] {
  let names;
  try {
    names = readdirSync(folder);
  } catch (error) {
    throw new Error(`cannot read the folder ${folder}: ${reason(error)}`, { cause: error });
  }
  const found = names.filter((name) => pattern.test(name)).sort();
  if (found.length > filesMax) throw new Error(`${folder} has more than ${filesMax} such files`);
  return found.map((name) => join(folder, name));
}

function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'it does not exist';
  return code === 'EACCES' ? 'permission denied' : message;
}
