import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DatasetPath } from '../../../src/dataset.ts';
import { zfsHandler, type ZfsHandlerOptions } from '../../../src/handlers/zfs/handler.ts';
import { placeholderProperty } from '../../../src/handlers/zfs/names-ours.ts';
import { contextWith, failure } from '../../support/directory-fixture.ts';
import { recorded } from '../../support/zfs-recordings.ts';
import { ZfsFixture } from '../../support/zfs-fixture.ts';

let fixture: ZfsFixture;
beforeEach(async () => {
  fixture = await ZfsFixture.start();
});
afterEach(() => fixture.fake.stop());

async function listed(
  options: Partial<ZfsHandlerOptions> = {},
  roots: readonly string[] | null = null,
): Promise<string[]> {
  const paths = await fixture.handler(options).filesystems({ roots }, contextWith());
  return paths.map((path) => path.join('/'));
}

describe('datasets on offer', () => {
  beforeEach(() => {
    for (const name of ['tank/home/ann', 'tank/home/bob', 'tank/homes', 'tank/home/ann/mail'])
      fixture.fake.pool.create(name);
    fixture.fake.pool.create('tank/home/disk', 'volume');
  });

  test('filesystems and volumes at and below a root, or the root alone', async () => {
    expect(await listed({ roots: [{ dataset: 'tank/home' }] })).toEqual([
      'tank/home',
      'tank/home/ann',
      'tank/home/ann/mail',
      'tank/home/bob',
      'tank/home/disk',
    ]);
    expect(await listed({ roots: [{ dataset: 'tank/home', recursive: false }] })).toEqual(['tank/home']);
  });

  test('those asked for, and ZFS is not asked for more', async () => {
    expect(await listed({}, ['tank/home/ann'])).toEqual(['tank/home/ann', 'tank/home/ann/mail']);
    expect(fixture.fake.calls.map((args) => args.at(-1))).toEqual(['tank/home/ann']);
    expect(await listed({}, ['/tank/home/ann/'])).toHaveLength(2);
    expect(await listed({}, ['tank/hom'])).toEqual([]);
    expect(await listed({}, ['elsewhere'])).toEqual([]);
    expect(await listed({}, ['-r', 'tank/../etc', 'tank/a@b'])).toEqual([]);
    expect(await listed({}, [])).toEqual([]);
  });

  test('each once, whatever roots and wishes overlap', async () => {
    const roots = [{ dataset: 'tank' }, { dataset: 'tank/home' }];
    const names = await listed({ roots }, ['tank/home', 'tank']);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toContain('tank/homes');
  });

  test('not what is left out, be it listed or named', async () => {
    const includes = (dataset: string): boolean => !dataset.startsWith('tank/home/ann');
    expect(await listed({ roots: [{ dataset: 'tank/home' }], includes })).toEqual([
      'tank/home',
      'tank/home/bob',
      'tank/home/disk',
    ]);
    const handler = fixture.handler({ includes });
    const asked = handler.filesystemVersions({ filesystem: ['tank', 'home', 'ann'] }, contextWith());
    expect(await failure(asked)).toMatchObject({ code: 'DATASET_NOT_FOUND' });
    expect(fixture.fake.callsOf('list')).toEqual([]);
  });

  test('not our placeholders, but what is below them', async () => {
    fixture.fake.pool.get('tank/home/ann').properties.set(placeholderProperty, 'on');
    const names = await listed({ roots: [{ dataset: 'tank/home/ann' }] });
    expect(names).toEqual(['tank/home/ann/mail']);
  });

  test('a root that is missing is offered, so that its absence is an error and the others go on', async () => {
    const roots = [{ dataset: 'tank/gone' }, { dataset: 'tank/homes' }];
    expect(await listed({ roots })).toEqual(['tank/gone', 'tank/homes']);
    const asked = fixture.handler({ roots }).filesystemVersions({ filesystem: ['tank', 'gone'] }, contextWith());
    expect(await failure(asked)).toMatchObject({ code: 'DATASET_NOT_FOUND' });
    // What somebody asks for below a root may be missing without anything being wrong.
    expect(await listed({}, ['tank/gone'])).toEqual([]);
  });

  test('a failure is none of these', async () => {
    fixture.fake.intercept = () => recorded('module', 'no module: list');
    expect(await failure(listed())).toMatchObject({
      code: 'SOURCE_FAILED',
      message: expect.stringContaining('modprobe') as string,
    });
  });
});

describe('paths', () => {
  const roots = [{ dataset: 'tank/home', path: ['people'] }];

  test('of a root may be others than its names', async () => {
    fixture.fake.pool.create('tank/home/ann');
    expect(await listed({ roots })).toEqual(['people', 'people/ann']);
    expect(await listed({ roots }, ['people/ann'])).toEqual(['people/ann']);
    expect(await listed({ roots }, ['tank/home'])).toEqual([]);
    const one = fixture.snapshot('one');
    const handler = fixture.handler({ roots });
    expect(await handler.filesystemVersions({ filesystem: ['people'] }, contextWith())).toEqual([one]);
  });

  test('that lead elsewhere are refused before anything is run', async () => {
    const paths: DatasetPath[] = [
      ['tank', 'home'],
      ['people', '..', 'x'],
      ['people', 'a@b'],
      ['people', '-r'],
      ['peopl'],
      [],
    ];
    for (const filesystem of paths) {
      const asked = fixture.handler({ roots }).filesystemVersions({ filesystem }, contextWith());
      expect(['DATASET_NOT_FOUND', 'INVALID_REQUEST']).toContain((await failure(asked)).code);
    }
    expect(fixture.fake.calls).toEqual([]);
  });

  test('the deepest root counts', async () => {
    fixture.fake.pool.create('tank/special');
    fixture.fake.pool.snapshot('tank/special', 'there');
    const both = [
      { dataset: 'tank/home', path: ['people'] },
      { dataset: 'tank/special', path: ['people', 'ann'] },
    ];
    const handler = fixture.handler({ roots: both });
    const versions = await handler.filesystemVersions({ filesystem: ['people', 'ann'] }, contextWith());
    expect(versions.map(({ name }) => name)).toEqual(['there']);
  });

  test('of a root alone do not lead below it', async () => {
    const alone = [{ dataset: 'tank/home', recursive: false }];
    fixture.fake.pool.create('tank/home/ann');
    const asked = fixture
      .handler({ roots: alone })
      .filesystemVersions({ filesystem: ['tank', 'home', 'ann'] }, contextWith());
    expect(await failure(asked)).toMatchObject({ code: 'DATASET_NOT_FOUND' });
  });
});

describe('versions', () => {
  test('oldest first, of this dataset only', async () => {
    fixture.fake.pool.create('tank/home/ann');
    fixture.fake.pool.snapshot('tank/home/ann', 'other');
    const b = fixture.snapshot('b');
    const a = fixture.snapshot('a');
    const mark = fixture.bookmark(b, 'mark');
    const handler = fixture.handler();
    expect(await handler.filesystemVersions({ filesystem: fixture.filesystem }, contextWith())).toEqual([b, mark, a]);
  });

  test('as a real zfs lists them', async () => {
    const { stdout } = recorded('list', 'snapshots and bookmarks');
    fixture.fake.intercept = () => ({ status: 0, stdout });
    const versions = await fixture
      .handler({ roots: [{ dataset: 'src' }] })
      .filesystemVersions({ filesystem: ['src', 'fix'] }, contextWith());
    expect(versions).toHaveLength(5);
  });

  test.each([
    ['dataset missing', 'DATASET_NOT_FOUND'],
    ['pool missing', 'DATASET_NOT_FOUND'],
  ])('%s', async (name, code) => {
    fixture.fake.intercept = () => recorded('list', name);
    const asked = fixture.handler().filesystemVersions({ filesystem: fixture.filesystem }, contextWith());
    expect((await failure(asked)).code).toBe(code);
  });
});

describe('how zfs is run', () => {
  test('from PATH, and through another program', async () => {
    const { PATH } = process.env;
    fixture.snapshot('one');
    try {
      process.env['PATH'] = `${fixture.fake.directory}:${PATH ?? ''}`;
      const filesystem = fixture.filesystem;
      const plain = zfsHandler({ roots: [{ dataset: 'tank' }] });
      expect(await plain.filesystemVersions({ filesystem }, contextWith())).toHaveLength(1);
      const prefixed = fixture.handler({}, { argv: ['env', 'PREFIX=1', fixture.fake.program] });
      expect(await prefixed.filesystemVersions({ filesystem }, contextWith())).toHaveLength(1);
    } finally {
      process.env['PATH'] = PATH;
    }
  });

  test('a missing program is named', async () => {
    const handler = fixture.handler({}, { argv: ['/nowhere/zfs'] });
    const asked = handler.filesystemVersions({ filesystem: fixture.filesystem }, contextWith());
    expect(await failure(asked)).toMatchObject({
      code: 'SOURCE_FAILED',
      message: expect.stringContaining('/nowhere/zfs') as string,
    });
  });

  test('sudo that wants a password', async () => {
    fixture.fake.intercept = () => ({ status: 1, stderr: 'sudo: a password is required\n' });
    const asked = fixture.handler().filesystemVersions({ filesystem: fixture.filesystem }, contextWith());
    expect((await failure(asked)).message).toMatch(/password is required; grant this user/);
  });

  test('no more commands at a time than allowed', async () => {
    let running = 0;
    let most = 0;
    const handler = fixture.handler({}, { commandsMax: 2 });
    fixture.fake.intercept = () => {
      running += 1;
      most = Math.max(most, running);
      setImmediate(() => (running -= 1));
      return undefined;
    };
    const asks = Array.from({ length: 8 }, () =>
      handler.filesystemVersions({ filesystem: fixture.filesystem }, contextWith()),
    );
    await Promise.all(asks);
    expect(most).toBeLessThanOrEqual(2);
  });

  test('a command that does not end is ended', async () => {
    const handler = fixture.handler(
      {},
      { argv: [process.execPath, '-e', 'setInterval(() => {}, 1000)', '--'], deadlineMs: 50 },
    );
    const asked = handler.filesystemVersions({ filesystem: fixture.filesystem }, contextWith());
    expect(await failure(asked)).toMatchObject({ code: 'TIMEOUT' });
  });
});
