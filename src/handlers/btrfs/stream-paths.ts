import { lstatSync } from 'node:fs';
import { isErrno } from '../directory/store-files.ts';
import { SnapferryError } from '../../errors.ts';
import { pathBytesMax } from './stream-command.ts';
import { violation } from './stream-format.ts';

/** What is known of one name. `special`: a device, a fifo or a socket. */
type Known = Folder | 'symlink' | 'special' | 'harmless';

/**
 * A folder that has, or may have, something below it that matters. Names it does not know are as they are in `base`; without one they
 * are harmless: absent, a file, or a folder with nothing of the kind below it.
 */
interface Folder {
  readonly base: string | null;
  readonly known: Map<string, Known>;
}

const componentBytesMax = 255;

/**
 * The symlinks and devices of the tree a stream builds, as far as they matter: a path of the stream that leads through a symlink would be
 * written to wherever it points, and contents for a device to the device itself. Starts from the tree on disk that the stream starts from, which nobody changes meanwhile, and follows what the
 * stream does. Paths are one character a byte. Every method throws `PROTOCOL_VIOLATION` for a path that no honest sender names.
 */
export class StreamPaths {
  readonly #root: Folder;

  /** @param base the tree the stream starts from, absolute; null for an empty one */
  constructor(base: string | null) {
    this.#root = { base: base === null ? null : Buffer.from(base).toString('latin1'), known: new Map() };
  }

  /** A name that the tool opens, to change its contents or read them. */
  checkOpened(path: string): void {
    this.checkFollowed(path);
    if (this.#checkedFind(path) === 'special')
      throw violation(`${show(path)} is a device, fifo or socket, and would be opened`);
  }

  /** A name whose mode is set: the tool would follow a symlink there. The root is the empty path. */
  checkFollowed(path: string): void {
    if (this.#checkedFind(path) === 'symlink')
      throw violation(`${show(path)} is a symlink, and would be written through`);
  }

  /** A name that is taken as it is, whether or not it is a symlink. */
  checkNamed(path: string): void {
    this.#checkedFind(path);
  }

  makeFile(path: string): void {
    // The tool would open what is already there.
    this.checkOpened(path);
    this.#set(path, 'harmless');
  }

  makeFolder(path: string): void {
    this.#set(path, 'harmless');
  }

  /** The stream makes a device, a fifo or a socket. */
  makeSpecial(path: string): void {
    this.#set(path, 'special');
  }

  makeSymlink(path: string, target: string): void {
    if (target === '' || target.includes('\0')) throw violation(`the symlink ${show(path)} leads to no name`);
    this.#set(path, 'symlink');
  }

  remove(path: string): void {
    this.#set(path, 'harmless');
  }

  /** The stream gives what is at `from` another name as well. */
  link(from: string, to: string): void {
    const found = this.#checkedFind(nonEmpty(from));
    this.#set(to, typeof found === 'string' ? found : 'harmless');
  }

  rename(from: string, to: string): void {
    if (to === from || to.startsWith(`${from}/`)) throw violation(`${show(from)} is renamed into itself`);
    const found = this.#checkedFind(nonEmpty(from));
    this.#set(from, 'harmless');
    this.#set(to, found);
  }

  #checkedFind(path: string): Known {
    const components = componentsOf(path);
    let at: Known = this.#root;
    for (const component of components) {
      if (at === 'symlink') throw violation(`${show(path)} leads through a symlink`);
      if (typeof at === 'string') return 'harmless';
      at = lookUp(at, component);
    }
    return at;
  }

  #set(path: string, what: Known): void {
    const components = componentsOf(nonEmpty(path));
    const last = components.pop() ?? '';
    // A folder without symlinks below it needs no place in memory.
    const folder = this.#folder(components, path, what !== 'harmless');
    if (folder === null) return;
    if (what === 'harmless' && folder.base === null) folder.known.delete(last);
    else folder.known.set(last, what);
  }

  #folder(components: readonly string[], path: string, create: boolean): Folder | null {
    let at = this.#root;
    for (const component of components) {
      const found = lookUp(at, component);
      if (found === 'symlink') throw violation(`${show(path)} leads through a symlink`);
      if (typeof found !== 'string') at = found;
      else if (!create) return null;
      else {
        const made: Folder = { base: null, known: new Map() };
        at.known.set(component, made);
        at = made;
      }
    }
    return at;
  }
}

function lookUp(folder: Folder, component: string): Known {
  const known = folder.known.get(component);
  if (known !== undefined) return known;
  if (folder.base === null) return 'harmless';
  const path = `${folder.base}/${component}`;
  const kind = kindOnDisk(path);
  if (kind === 'harmless') return kind;
  const found = kind === 'folder' ? { base: path, known: new Map<string, Known>() } : kind;
  folder.known.set(component, found);
  return found;
}

function kindOnDisk(path: string): 'symlink' | 'special' | 'folder' | 'harmless' {
  try {
    const stats = lstatSync(Buffer.from(path, 'latin1'), { throwIfNoEntry: false });
    if (stats === undefined || stats.isFile()) return 'harmless';
    if (stats.isDirectory()) return 'folder';
    return stats.isSymbolicLink() ? 'symlink' : 'special';
  } catch (error) {
    if (isErrno(error, 'ENOTDIR', 'ENAMETOOLONG')) return 'harmless';
    throw new SnapferryError(
      'ACCESS_DENIED',
      `cannot look at ${show(path)}, which must be known before a stream may change it: ${(error as Error).message}; ` +
        'receiving btrfs streams needs root',
      { cause: error },
    );
  }
}

function componentsOf(path: string): string[] {
  if (path === '') return [];
  if (path.length >= pathBytesMax) throw violation(`a path of ${path.length} bytes is too long`);
  if (path.includes('\0')) throw violation(`the path ${show(path)} has a zero byte`);
  const components = path.split('/');
  for (const component of components) {
    if (component === '' || component === '.' || component === '..') {
      throw violation(`the path ${show(path)} is absolute, or has an empty component, "." or ".."`);
    }
    if (component.length > componentBytesMax) throw violation('a name is longer than 255 bytes');
  }
  return components;
}

function nonEmpty(path: string): string {
  if (path === '') throw violation('the root of the subvolume is named where only what is in it can be');
  return path;
}

function show(path: string): string {
  const text = Buffer.from(path, 'latin1').toString('utf8');
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
