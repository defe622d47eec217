import { link, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FilesystemVersion } from '../../../src/dataset.ts';
import type { Entry } from '../../../src/handlers/directory/entry.ts';
import { newGuid } from '../../../src/handlers/directory/guid.ts';
import { manifestSha256 } from '../../../src/handlers/directory/manifest.ts';
import { openStore, type Store } from '../../../src/handlers/directory/store.ts';

let place: string;
beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), 'snapferry-store-'));
});
afterEach(() => rm(place, { recursive: true, force: true }));

const rootEntry: Entry = {
  path: '',
  type: 'directory',
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeNs: 1n,
  size: 0,
  sha256: null,
  target: null,
  generation: 0,
};

async function commit(store: Store, name: string, entries = [rootEntry]): Promise<FilesystemVersion> {
  const tree = await mkdtemp(join(store.stagingDirectory, 'test-'));
  const header = {
    format: 1 as const,
    guid: newGuid(),
    createTXG: await store.nextCreateTXG(),
    creation: '2026-11-21T00:00:00Z',
    entries: entries.length,
    bytes: 0,
    manifestSha256: await manifestSha256(entries),
    missing: [],
    notApplied: [],
  };
  return store.commit(tree, name, header, entries);
}

const openCopy = (): Promise<Store> => openStore(join(place, 'copy'), { kind: 'copy', create: true });

describe('openStore', () => {
  it('makes a copy of an absent or empty directory and finds it again', async () => {
    const store = await openCopy();
    expect(store.root).toBe(join(place, 'copy'));
    const again = await openStore(join(place, 'copy'));
    expect([again.kind, again.guid]).toEqual(['copy', store.guid]);
    await mkdir(join(place, 'empty'));
    expect((await openStore(join(place, 'empty'), { kind: 'copy', create: true })).kind).toBe('copy');
    expect((await stat(join(store.root, 'snapshots'))).mode & 0o777).toBe(0o700);
  });

  it('makes the store of a live directory inside it', async () => {
    const store = await openStore(place, { kind: 'live', create: true });
    expect(store.root).toBe(join(place, '.snapferry'));
    expect((await stat(store.root)).mode & 0o777).toBe(0o700);
    expect((await openStore(place)).kind).toBe('live');
  });

  it('takes no directory with something in it for a copy', async () => {
    await writeFile(join(place, 'letter'), '');
    const opening = openStore(place, { kind: 'copy', create: true });
    await expect(opening).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('"letter"') as string,
    });
    await writeFile(join(place, 'file'), '');
    const file = openStore(join(place, 'letter'), { kind: 'copy', create: true });
    await expect(file).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    expect((await readdir(place)).sort()).toEqual(['file', 'letter']);
  });

  it('says what a directory without a store is', async () => {
    await expect(openStore(place)).rejects.toMatchObject({ code: 'DATASET_NOT_FOUND' });
    await expect(openStore(join(place, 'absent'))).rejects.toMatchObject({ code: 'DATASET_NOT_FOUND' });
    const live = openStore(join(place, 'absent'), { kind: 'live', create: true });
    await expect(live).rejects.toMatchObject({ code: 'DATASET_NOT_FOUND' });
  });

  it('refuses the other kind', async () => {
    await openCopy();
    const live = openStore(join(place, 'copy'), { kind: 'live', create: true });
    await expect(live).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  it.each(['', '{}', '{"format":2,"kind":"copy","guid":"1"}', '{"format":1,"kind":"live","guid":"1"}'])(
    'refuses a marker it does not know: %s',
    async (text) => {
      await writeFile(join(place, 'snapferry.json'), text);
      const opening = openStore(place, { kind: 'copy', create: true });
      await expect(opening).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
      expect(await readFile(join(place, 'snapferry.json'), 'utf8')).toBe(text);
    },
  );
});

describe('versions', () => {
  it('are listed oldest first and found by name and guid', async () => {
    const store = await openCopy();
    await store.withLock(async () => {
      const z = await commit(store, 'z');
      const a = await commit(store, 'a');
      expect(await store.versions()).toEqual([z, a]);
      expect([z.createTXG, a.createTXG]).toEqual([1n, 2n]);
      expect(await store.newest()).toEqual(a);
      expect(await store.findByGuid(z.guid)).toEqual(z);
      expect(await store.findByGuid(1n)).toBeNull();
      expect(await store.entries('z')).toEqual([rootEntry]);
      expect((await store.header('a')).guid).toBe(a.guid);
    });
    await expect(store.header('b')).rejects.toMatchObject({
      code: 'VERSION_NOT_FOUND',
      message: expect.stringContaining('@z, @a') as string,
    });
  });

  it('are listed by the thousand without reading their entries', async () => {
    const store = await openCopy();
    await store.withLock(() => commit(store, 'first'));
    const manifests = join(store.root, 'manifests');
    const text = await readFile(join(manifests, 'first.json'), 'utf8');
    for (let index = 2; index <= 2000; index++) {
      await mkdir(join(store.root, 'snapshots', `s${index}`));
      await writeFile(join(manifests, `s${index}.json`), text.replace('"createTXG":"1"', `"createTXG":"${index}"`));
    }
    const versions = await store.versions();
    expect(versions.map(({ createTXG }) => Number(createTXG))).toEqual(Array.from({ length: 2000 }, (_, i) => i + 1));
  });

  it('exist with their tree only, and are not silently passed over when damaged', async () => {
    const store = await openCopy();
    await store.withLock(async () => {
      await commit(store, 'a');
      await commit(store, 'b');
    });
    await rm(join(store.root, 'snapshots', 'a'), { recursive: true });
    expect((await store.versions()).map(({ name }) => name)).toEqual(['b']);
    await rm(join(store.root, 'manifests', 'b.json'));
    await expect(store.versions()).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
  });

  it.each(['', '.', '..', '-rf', 'a/b', 'a@b', 'a\nb', 'x'.repeat(241)])('are never named %j', async (name) => {
    const store = await openCopy();
    await store.withLock(async () => {
      await expect(commit(store, name)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
      await expect(store.header(name)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
      expect(() => store.snapshotDirectory(name)).toThrow(
        expect.objectContaining({ code: 'INVALID_REQUEST' }) as Error,
      );
    });
  });

  it('may have the longest name', async () => {
    const store = await openCopy();
    const name = 'x'.repeat(240);
    const version = await store.withLock(() => commit(store, name));
    await store.setBookmark(name, version);
    expect((await openStore(store.directory)).kind).toBe('copy');
    expect((await store.versions()).length).toBe(2);
  });
});

describe('commit', () => {
  it('refuses a name that is taken and leaves the old snapshot alone', async () => {
    const store = await openCopy();
    await store.withLock(async () => {
      const first = await commit(store, 'a');
      await expect(commit(store, 'a')).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
      expect(await store.versions()).toEqual([first]);
    });
  });

  it('needs the lock', async () => {
    const store = await openCopy();
    await expect(commit(store, 'a')).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(await store.versions()).toEqual([]);
  });
});

describe('withLock', () => {
  it('lets one writer in', async () => {
    const store = await openCopy();
    const other = await openStore(store.directory);
    await store.withLock(async () => {
      await expect(other.withLock(() => Promise.resolve())).rejects.toMatchObject({ code: 'BUSY' });
    });
    await other.withLock(() => Promise.resolve());
  });

  it('lets go when the work fails', async () => {
    const store = await openCopy();
    const failing = store.withLock(() => Promise.reject(new Error('disk full')));
    await expect(failing).rejects.toThrow('disk full');
    await store.withLock(() => Promise.resolve());
  });

  it('removes what dead writers left, but not a receive that can go on', async () => {
    const store = await openCopy();
    await store.withLock(() => commit(store, 'kept'));
    const before = await readdir(store.root, { recursive: true });
    await mkdir(join(store.stagingDirectory, 'snapshot-x', 'tree'), { recursive: true });
    await writeFile(join(store.stagingDirectory, 'stray'), '');
    await mkdir(join(store.receiveDirectory, 'tree'), { recursive: true });
    for (const file of ['gone.json', 'gone.entries.gz', '12-ab.tmp', 'kept.txt']) {
      await writeFile(join(store.root, 'manifests', file), '');
    }
    await writeFile(join(store.root, '12-ab.tmp'), '');
    await store.withLock(() => Promise.resolve());
    const after = await readdir(store.root, { recursive: true });
    expect(after.sort()).toEqual([...before, 'staging/receive', 'staging/receive/tree'].sort());
  });
});

describe('setBookmark', () => {
  it('keeps the entries of a snapshot that is gone', async () => {
    const store = await openCopy();
    const [a, b] = await store.withLock(async () => [await commit(store, 'a'), await commit(store, 'b')] as const);
    await store.setBookmark('cursor', a);
    const bookmark = { ...a, type: 'bookmark', name: 'cursor' };
    expect(await store.versions()).toEqual([a, bookmark, b]);
    expect(await store.findByGuid(a.guid)).toEqual(a);
    await rm(join(store.root, 'snapshots', 'a'), { recursive: true });
    await store.withLock(() => Promise.resolve());
    expect(await store.versions()).toEqual([bookmark, b]);
    expect(await store.entriesOf(a)).toEqual([rootEntry]);
    expect((await store.headerOf(a)).guid).toBe(a.guid);
    await store.setBookmark('second', bookmark);
    expect((await store.findByGuid(a.guid))?.type).toBe('bookmark');
  });

  it('moves atomically and leaves nothing of the old', async () => {
    const store = await openCopy();
    const [a, b] = await store.withLock(async () => [await commit(store, 'a'), await commit(store, 'b')] as const);
    await store.setBookmark('cursor', a);
    await store.setBookmark('cursor', b);
    await store.setBookmark('cursor', b);
    expect((await store.versions()).filter(({ type }) => type === 'bookmark')).toEqual([
      { ...b, type: 'bookmark', name: 'cursor' },
    ]);
    const files = await readdir(join(store.root, 'bookmarks'));
    expect(files.sort()).toEqual([`${b.guid}.entries.gz`, 'cursor.json', 'lock'].sort());
  });

  it('survives a crash between its two files', async () => {
    const store = await openCopy();
    const [a, b] = await store.withLock(async () => [await commit(store, 'a'), await commit(store, 'b')] as const);
    await store.setBookmark('cursor', a);
    const bookmarks = join(store.root, 'bookmarks');
    await link(join(store.root, 'manifests', 'b.entries.gz'), join(bookmarks, `${b.guid}.entries.gz`));
    await rename(join(store.root, 'snapshots', 'a'), join(place, 'away'));
    expect(await store.entriesOf(a)).toEqual([rootEntry]);
    await store.setBookmark('cursor', b);
    expect((await store.versions()).map(({ name }) => name)).toEqual(['b', 'cursor']);
  });

  it('needs a version that is there and a fit name, and works while a writer is busy', async () => {
    const store = await openCopy();
    await store.withLock(async () => {
      const a = await commit(store, 'a');
      await expect(store.setBookmark('x', { ...a, guid: 1n })).rejects.toMatchObject({ code: 'VERSION_NOT_FOUND' });
      await expect(store.setBookmark('../x', a)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
      await Promise.all(['p', 'q', 'r'].map((name) => store.setBookmark(name, a)));
      expect((await store.versions()).map(({ name }) => name)).toEqual(['a', 'p', 'q', 'r']);
    });
  });
});
