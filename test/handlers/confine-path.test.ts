import { mkdir, mkdtemp, realpath, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { confinePath } from '../../src/handlers/confine-path.ts';

let base: string;

beforeEach(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), 'snapferry-confine-')));
  await mkdir(join(base, 'root/sub'), { recursive: true });
  await mkdir(join(base, 'root-2'));
  await mkdir(join(base, 'outside'));
  await symlink('../outside', join(base, 'root/out'));
  await symlink('sub', join(base, 'root/in'));
  await symlink('../not-there', join(base, 'root/dangling'));
  await symlink('loop', join(base, 'root/loop'));
  await symlink('root', join(base, 'alias'));
});
afterEach(() => rm(base, { recursive: true }));

const confine = (path: string) => confinePath(path.startsWith('/') ? path : join(base, path), [join(base, 'root')]);

it.each([
  ['root', 'root'],
  ['root/', 'root'],
  ['root/sub', 'root/sub'],
  ['root/new', 'root/new'],
  ['root/new/deeper', 'root/new/deeper'],
  ['root/in', 'root/sub'],
  ['root/in/new', 'root/sub/new'],
  ['alias/sub', 'root/sub'],
])('lets %s through as %s', async (path, real) => {
  expect(await confine(path)).toBe(join(base, real));
});

it.each(['outside', 'root-2', 'root/out', 'root/out/new', '/', '/etc/passwd', 'not-there'])(
  'does not let %s through',
  async (path) => {
    expect(await confine(path)).toBeNull();
  },
);

it.each(['root/dangling', 'root/dangling/new', 'root/loop', 'root/loop/new'])('refuses %s', async (path) => {
  await expect(confine(path)).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
});

it('refuses ".." before it is resolved away', async () => {
  for (const path of [`${base}/root/../outside`, `${base}/root/sub/..`, '..', '', 'a\0b']) {
    await expect(confinePath(path, ['/'])).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
  }
});

it('takes roots that do not exist yet, and several', async () => {
  expect(await confinePath(join(base, 'later/x'), [join(base, 'root'), join(base, 'later')])).toBe(
    join(base, 'later/x'),
  );
  expect(await confinePath('/etc', ['/'])).toBe(await realpath('/etc'));
  expect(await confinePath(join(base, 'root'), [])).toBeNull();
  // A root that is a symlink is where it leads.
  expect(await confinePath(join(base, 'root/sub'), [join(base, 'alias')])).toBe(join(base, 'root/sub'));
});
