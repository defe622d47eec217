import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { NotifyStateFile, emptyNotifyState, readNotifyState } from '../../../src/daemon/notify/notify-state.ts';

const silent = pino({ level: 'silent' });

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-notify-state-'));
  path = join(directory, 'notifications.json');
});
afterEach(() => rm(directory, { recursive: true }));

test('what is written is read again, and what has not changed is not written again', async () => {
  let state = { ...emptyNotifyState, runs: { web1: 'run-1' } };
  const file = new NotifyStateFile(path, () => state, silent);
  await file.save();
  expect(await readNotifyState(path, silent)).toEqual(state);
  const { ino } = await stat(path);
  await file.save();
  expect((await stat(path)).ino).toBe(ino);
  state = { ...state, runs: { web1: 'run-2' } };
  await file.save();
  expect(await readNotifyState(path, silent)).toEqual(state);
});

test('many who save at once wait for one writing, of the newest state', async () => {
  let count = 0;
  const file = new NotifyStateFile(path, () => ({ ...emptyNotifyState, runs: { asked: `${(count += 1)}` } }), silent);
  await Promise.all(Array.from({ length: 50 }, () => file.save()));
  expect(count).toBe(1);
  expect(await readFile(path, 'utf8')).toContain('"asked":"1"');
});

test('a state of another shape is not believed', async () => {
  const file = new NotifyStateFile(
    path,
    () => ({ ...emptyNotifyState, runs: { web1: 7 as unknown as string } }),
    silent,
  );
  await file.save();
  expect(await readNotifyState(path, silent)).toEqual(emptyNotifyState);
});
