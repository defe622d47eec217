import { describe, expect, test } from 'vitest';
import type { NotificationEvent } from '../../../src/config/global-settings.ts';
import { createNotice, noticeDocument, noticeText, noticeTitle } from '../../../src/daemon/notify/notice.ts';
import type { Notice } from '../../../src/daemon/notify/notice.ts';
import type { Trouble } from '../../../src/daemon/notify/trouble.ts';
import { beganMs } from '../../support/daemon-fixture.ts';

function trouble(dataset: string | null, more: Partial<Trouble> = {}): Trouble {
  return {
    kind: 'run',
    job: 'web1',
    identity: null,
    dataset,
    code: 'CONFLICT',
    message: 'both sides have changed',
    advice: 'snapferry doctor web1',
    sinceMs: beganMs - 3_600_000,
    ...more,
  };
}

function notice(event: NotificationEvent, troubles: readonly Trouble[], more: Partial<Notice> = {}): Notice {
  const about = {
    event,
    job: 'web1',
    atMs: beganMs,
    host: 'vault',
    isReminder: false,
    troublesRemaining: 0,
    untold: 0,
  };
  return { ...createNotice(about, troubles), id: 'id-1', ...more };
}

describe('the title says what happened, to what, where', () => {
  const two = [trouble('tank/a'), trouble('tank/b')];
  test.each([
    [notice('failure', [trouble(null)]), 'web1 failed (CONFLICT)'],
    [notice('failure', [trouble('tank/a')]), 'web1: tank/a failed (CONFLICT)'],
    [notice('failure', two), 'web1: 2 datasets failed'],
    [notice('failure', [trouble(null), ...two]), 'web1 failed'],
    [notice('failure', [trouble('tank/a')], { isReminder: true }), 'web1: tank/a still fails (CONFLICT)'],
    [notice('failure', two, { isReminder: true }), 'web1: 2 datasets still fail'],
    [notice('failure', two, { troublesLeftOut: 40 }), 'web1: 42 datasets failed'],
    [notice('failure', [], { untold: 7 }), 'web1 failed 7 more times, and works again'],
    [notice('stale', [trouble('tank/a')]), 'web1: tank/a is stale'],
    [notice('stale', two, { isReminder: true }), 'web1: 2 datasets are still stale'],
    [notice('recovery', [trouble(null)]), 'web1 works again'],
    [notice('recovery', two), 'web1: 2 datasets work again'],
    [notice('failure', [trouble('evil\r\nBcc: x@example.com')]), 'web1: evil Bcc: x@example.com failed (CONFLICT)'],
  ])('%#', (told, title) => {
    expect(noticeTitle(told)).toBe(`snapferry on vault: ${title}`);
  });
});

test('the text of a failure says what to do', () => {
  const told = notice('failure', [trouble('tank/a'), trouble('home', { identity: 'laptop', advice: null })], {
    troublesLeftOut: 3,
    troublesRemaining: 2,
    untold: 4,
  });
  expect(noticeText(told)).toBe(`snapferry on vault: web1: 5 datasets failed

tank/a: CONFLICT since 2026-11-21T11:00:00.000Z
  both sides have changed
  What to do: snapferry doctor web1

home of laptop: CONFLICT since 2026-11-21T11:00:00.000Z
  both sides have changed

... and 3 more.

4 failures since the last message came and went without a message of their own.

Of this job, 2 more troubles last that were told before.

Everything at a glance: snapferry status (on vault)
`);
});

test('the text of a recovery says what is over', () => {
  expect(noticeText(notice('recovery', [trouble(null)]))).toContain(
    'job web1: over; it was CONFLICT since 2026-11-21T11:00:00.000Z',
  );
});

test('for programs, names are exact and times are RFC 3339', () => {
  expect(noticeDocument(notice('failure', [trouble('a\nb', { identity: 'laptop' })]))).toMatchObject({
    version: 1,
    id: 'id-1',
    event: 'failure',
    job: 'web1',
    host: 'vault',
    time: '2026-11-21T12:00:00.000Z',
    reminder: false,
    troubles: [{ dataset: 'a\nb', client: 'laptop', code: 'CONFLICT', since: '2026-11-21T11:00:00.000Z' }],
    troubles_left_out: 0,
    troubles_remaining: 0,
    failures_untold: 0,
  });
});
