import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { acquireLock } from '../../src/handlers/lock.ts';

let place: string;
let path: string;
beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), 'snapferry-lock-'));
  path = join(place, 'lock');
});
afterEach(() => rm(place, { recursive: true, force: true }));

const what = 'the store';

it('is held by one, and told who it is', async () => {
  const lock = await acquireLock(path, { what });
  expect(lock.isHeld).toBe(true);
  const text = `the store is in use by process ${process.pid} since 20`;
  await expect(acquireLock(path, { what })).rejects.toMatchObject({
    code: 'BUSY',
    retryable: true,
    message: expect.stringContaining(text) as string,
  });
  await lock.release();
  await lock.release();
  expect(lock.isHeld).toBe(false);
  await using again = await acquireLock(path, { what });
  expect(again.isHeld).toBe(true);
});

it('is waited for when asked', async () => {
  const lock = await acquireLock(path, { what });
  const waiting = acquireLock(path, { what, waitMs: 60_000 });
  await lock.release();
  await (await waiting).release();
});

it('gives up waiting when cancelled', async () => {
  const lock = await acquireLock(path, { what });
  const controller = new AbortController();
  const waiting = acquireLock(path, { what, waitMs: 60_000, signal: controller.signal });
  controller.abort();
  await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
  await lock.release();
});

it('is held by one of many that want it at once', async () => {
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => acquireLock(path, { what })));
  const held = results.filter((result) => result.status === 'fulfilled');
  expect(held.length).toBe(1);
  for (const { value } of held) await value.release();
});

it('is free again once its owner was killed', async () => {
  const module = pathToFileURL(join(import.meta.dirname, '../../src/handlers/lock.ts')).href;
  const code = `const {acquireLock} = await import(${JSON.stringify(module)});
    await acquireLock(${JSON.stringify(path)}, {what: 'x'}); process.stdout.write('held'); setInterval(() => {}, 1000);`;
  const owner = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await new Promise((resolve) => owner.stdout.once('data', resolve));
    await expect(acquireLock(path, { what })).rejects.toThrow(`process ${owner.pid} since`);
  } finally {
    owner.kill('SIGKILL');
  }
  await new Promise((resolve) => owner.once('exit', resolve));
  await using lock = await acquireLock(path, { what });
  expect(lock.isHeld).toBe(true);
});

it('says so when locking does not work', async () => {
  await expect(acquireLock(join(place, 'absent', 'lock'), { what })).rejects.toThrow(/ENOENT/);
});
