import fc from 'fast-check';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SnapferryError } from '../../../src/errors.ts';
import { StreamChecker } from '../../../src/handlers/btrfs/stream-checker.ts';
import { foldUUID } from '../../../src/handlers/btrfs/uuid.ts';
import { recordedStream, recordedUUIDs } from '../../support/btrfs-recordings.ts';
import * as craft from '../../support/btrfs-streams.ts';

const seed = Number(process.env['SNAPFERRY_SEED'] ?? 20261121);

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'snapferry-btrfs-fuzz-'));
  mkdirSync(join(root, 'a/b'), { recursive: true });
  symlinkSync('/', join(root, 'a/b/c'));
  symlinkSync('..', join(root, 'b'));
  writeFileSync(join(root, 'c'), '');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

type Operation =
  | { readonly kind: 'mkfile' | 'mkdir' | 'symlink' | 'remove' | 'write'; readonly path: string }
  | { readonly kind: 'rename' | 'link'; readonly path: string; readonly to: string };

/** A file system as the kernel has it: follows symlinks, and says when an operation left the tree through one. */
class Model {
  readonly #top: Folder = folder();

  constructor(hasBase: boolean) {
    if (!hasBase) return;
    const inner: Folder = { kind: 'folder', entries: new Map([['c', { kind: 'symlink' }]]) };
    this.#top.entries.set('a', { kind: 'folder', entries: new Map([['b', inner]]) });
    this.#top.entries.set('b', { kind: 'symlink' });
    this.#top.entries.set('c', { kind: 'file' });
  }

  /** Carries it out; `left` when a symlink was followed, `failed` when the tool would give up. */
  apply(operation: Operation): 'done' | 'failed' | 'left' {
    const at = this.#parent(operation.path);
    if (typeof at === 'string') return at;
    const found = at.folder.entries.get(at.name);
    if (operation.kind === 'rename' || operation.kind === 'link') {
      const to = this.#parent(operation.to);
      if (typeof to === 'string') return to;
      return move(operation.kind, at, to, operation);
    }
    if (operation.kind === 'write' || operation.kind === 'mkfile') {
      if (found?.kind === 'symlink') return 'left';
      if (found?.kind === 'folder' || (found === undefined && operation.kind === 'write')) return 'failed';
      at.folder.entries.set(at.name, { kind: 'file' });
    } else if (operation.kind === 'remove') {
      if (found === undefined || (found.kind === 'folder' && found.entries.size > 0)) return 'failed';
      at.folder.entries.delete(at.name);
    } else {
      if (found !== undefined) return 'failed';
      at.folder.entries.set(at.name, operation.kind === 'mkdir' ? folder() : { kind: 'symlink' });
    }
    return 'done';
  }

  #parent(path: string): Place | 'left' | 'failed' {
    const components = path.split('/');
    const name = components.pop()!;
    let at = this.#top;
    for (const component of components) {
      const next = at.entries.get(component);
      if (next?.kind === 'symlink') return 'left';
      if (next?.kind !== 'folder') return 'failed';
      at = next;
    }
    return { folder: at, name };
  }
}

type Node = Folder | { readonly kind: 'file' | 'symlink' };
interface Folder {
  readonly kind: 'folder';
  readonly entries: Map<string, Node>;
}
interface Place {
  readonly folder: Folder;
  readonly name: string;
}

const folder = (): Folder => ({ kind: 'folder', entries: new Map() });

function move(kind: 'rename' | 'link', from: Place, to: Place, paths: { path: string; to: string }): 'done' | 'failed' {
  const found = from.folder.entries.get(from.name);
  const there = to.folder.entries.get(to.name);
  if (found === undefined || `${paths.to}/`.startsWith(`${paths.path}/`)) return 'failed';
  if (kind === 'link') {
    if (there !== undefined || found.kind === 'folder') return 'failed';
  } else {
    const isFolder = found.kind === 'folder';
    if (there !== undefined && isFolder !== (there.kind === 'folder')) return 'failed';
    if (there?.kind === 'folder' && there.entries.size > 0) return 'failed';
    from.folder.entries.delete(from.name);
  }
  to.folder.entries.set(to.name, found);
  return 'done';
}

function toCommand(operation: Operation): Buffer {
  const { kind, path } = operation;
  if (kind === 'rename') return craft.rename(path, operation.to);
  if (kind === 'link') return craft.link(operation.to, path);
  if (kind === 'symlink') return craft.symlink(path);
  if (kind === 'remove') return craft.remove('unlink', path);
  return kind === 'write' ? craft.write(path) : craft.make(kind, path);
}

const paths = fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 4 }).map((names) => names.join('/'));
const operations: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ kind: fc.constantFrom('mkfile', 'mkdir', 'symlink', 'remove', 'write'), path: paths }),
  fc.record({ kind: fc.constantFrom('rename', 'link'), path: paths, to: paths }),
);

describe(`streams made up (SNAPFERRY_SEED=${seed})`, () => {
  test.each([
    ['from nothing', false],
    ['from a tree with symlinks', true],
  ])('%s: what leads through a symlink is refused, whatever was moved before', (_, hasBase) => {
    const seen = { left: 0, done: 0 };
    const property = fc.property(fc.array(operations, { maxLength: 30 }), (list) => {
      const base = hasBase ? { origin: craft.crafted.from, uuid: craft.crafted.copy, path: root } : null;
      const checker = new StreamChecker({ toGuid: craft.craftedGuid, base, name: 'x' });
      const whole = craft.stream([], { from: hasBase ? craft.crafted.from : null });
      checker.take(whole.subarray(0, -10));
      const model = new Model(hasBase);
      for (const operation of list) {
        const outcome = model.apply(operation);
        // Where the tool gives up, nothing that follows is carried out.
        if (outcome === 'failed') return;
        seen[outcome]++;
        if (outcome === 'left') {
          expect(() => checker.take(toCommand(operation))).toThrow(SnapferryError);
          return;
        }
        checker.take(toCommand(operation));
      }
    });
    fc.assert(property, { seed, numRuns: 20_000 });
    expect(seen.left).toBeGreaterThan(100);
    expect(seen.done).toBeGreaterThan(1000);
  });

  test('real streams with bytes changed, left out and put in: refused, or passed on in bounds', () => {
    const originals = [recordedStream('full'), recordedStream('full-v2')];
    const change = fc.record({
      at: fc.nat(9634),
      drop: fc.nat(40),
      put: fc.uint8Array({ maxLength: 40 }),
      pieceBytes: fc.integer({ min: 1, max: 10_000 }),
      which: fc.nat(1),
    });
    const property = fc.property(change, ({ at, drop, put, pieceBytes, which }) => {
      const original = originals[which]!;
      const bytes = Buffer.concat([original.subarray(0, at), put, original.subarray(at + drop)]);
      const checker = new StreamChecker({ toGuid: foldUUID(recordedUUIDs.one), base: null, name: 'x' });
      let taken = 0;
      let given = 0;
      try {
        for (; taken < bytes.length; taken += pieceBytes) {
          for (const part of checker.take(bytes.subarray(taken, taken + pieceBytes))) given += part.length;
        }
        checker.finish();
      } catch (error) {
        expect(error).toBeInstanceOf(SnapferryError);
      }
      expect(given).toBeLessThanOrEqual(bytes.length);
    });
    fc.assert(property, { seed, numRuns: 5000 });
  });
});
