import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deliverByCommand } from '../../../src/daemon/notify/deliver-command.ts';
import { deliverInTime, deliverNotice } from '../../../src/daemon/notify/deliver.ts';
import { noticeDocument } from '../../../src/daemon/notify/notice.ts';
import { commandNotification, handClock } from '../../support/daemon-fixture.ts';
import { failureNotice, noSignal } from '../../support/notice-fixture.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-notify-'));
});
afterAll(() => rm(directory, { recursive: true }));

function shell(script: string, ...args: readonly string[]): { type: 'command'; argv: [string, ...string[]] } {
  return { type: 'command', argv: ['/bin/sh', '-c', script, 'sh', ...args] };
}

test('the notice is on the standard input, its parts in the environment, and nothing is expanded by a shell', async () => {
  const out = join(directory, 'out');
  const script =
    'exec >"$1"; cat; printf "%s\\n" "$2" "$SNAPFERRY_EVENT" "$SNAPFERRY_JOB" "$SNAPFERRY_HOST" "$SNAPFERRY_TITLE"';
  const notice = failureNotice();
  await deliverByCommand(shell(script, out, '$(id) ; *'), notice, noSignal);
  const [document, ...lines] = (await readFile(out, 'utf8')).trimEnd().split('\n');
  expect(JSON.parse(document!)).toEqual(noticeDocument(notice));
  expect(lines).toEqual([
    '$(id) ; *',
    'failure',
    'web1',
    'vault.example',
    'snapferry on vault.example: web1: tank/däta failed (CONFLICT)',
  ]);
});

test('a command that does not read its input is as good as any', async () => {
  await deliverByCommand(shell('exit 0'), failureNotice(), noSignal);
});

test('a command that fails is not known to have told anybody', async () => {
  await expect(deliverByCommand(shell('echo no modem >&2; exit 3'), failureNotice(), noSignal)).rejects.toMatchObject({
    code: 'SOURCE_FAILED',
    message: expect.stringMatching(/exited with status 3: no modem$/) as string,
  });
});

test('a name with a NUL byte in it reaches the command', async () => {
  const out = join(directory, 'nul');
  const [trouble] = failureNotice().troubles;
  const notice = failureNotice({ troubles: [{ ...trouble!, dataset: 'a\0b' }] });
  await deliverByCommand(shell('cat >"$1"', out), notice, noSignal);
  expect(JSON.parse(await readFile(out, 'utf8'))).toMatchObject({ troubles: [{ dataset: 'a\0b' }] });
});

test('a command that takes too long is stopped', async () => {
  const clock = handClock();
  const notification = commandNotification({ argv: ['/bin/sleep', '1000'], timeoutMs: 30_000 });
  const telling = deliverInTime(deliverNotice, notification, failureNotice(), { clock, signal: noSignal });
  clock.advance(30_000);
  await expect(telling).rejects.toMatchObject({
    code: 'TIMEOUT',
    message: 'telling by command took longer than 30000 ms',
  });
  expect(clock.waiting()).toBe(0);
});

test('a command that is cancelled was not too slow', async () => {
  const clock = handClock();
  const controller = new AbortController();
  const notification = commandNotification({ argv: ['/bin/sleep', '1000'] });
  const telling = deliverInTime(deliverNotice, notification, failureNotice(), { clock, signal: controller.signal });
  controller.abort();
  await expect(telling).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(clock.waiting()).toBe(0);
});
