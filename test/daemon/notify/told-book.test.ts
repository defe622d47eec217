import { beforeEach, describe, expect, test } from 'vitest';
import type { Notification } from '../../../src/config/global-settings.ts';
import type { Notice } from '../../../src/daemon/notify/notice.ts';
import { ToldBook } from '../../../src/daemon/notify/told-book.ts';
import type { ToldState } from '../../../src/daemon/notify/told-book.ts';
import { subjectKey } from '../../../src/daemon/notify/trouble.ts';
import type { Trouble } from '../../../src/daemon/notify/trouble.ts';
import { beganMs, commandNotification } from '../../support/daemon-fixture.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** A book, with a clock and troubles that a test sets. */
class Played {
  nowMs = beganMs;
  readonly troubles = new Map<string, Trouble>();
  readonly dropped: Notice[] = [];
  readonly settings: Notification;
  book: ToldBook;

  constructor(settings = commandNotification()) {
    this.settings = settings;
    this.book = this.#open();
  }

  #open(state?: ToldState): ToldBook {
    const options = {
      settings: this.settings,
      host: 'here',
      onDropped: (notice: Notice) => void this.dropped.push(notice),
    };
    return state === undefined ? new ToldBook(options) : new ToldBook(options, state);
  }

  /** Stores and opens again. */
  restart(): void {
    this.book = this.#open(JSON.parse(JSON.stringify(this.book.state)) as ToldState);
  }

  begin(code: string, dataset: string | null = null, kind: Trouble['kind'] = 'run', job = 'web1'): this {
    const trouble = { kind, job, identity: null, dataset, code, message: 'no', advice: null, sinceMs: this.nowMs };
    this.troubles.set(subjectKey(trouble), trouble);
    this.book.countBegan(job, kind === 'stale' ? 0 : 1, this.nowMs);
    return this;
  }

  end(dataset: string | null = null, kind: Trouble['kind'] = 'run', job = 'web1'): this {
    this.troubles.delete(subjectKey({ kind, job, identity: null, dataset }));
    return this;
  }

  /** Everything that is told now. */
  notices(): Notice[] {
    this.book.reconcile(this.troubles, this.nowMs);
    const notices: Notice[] = [];
    for (let notice = this.book.due(this.nowMs); notice !== null; notice = this.book.due(this.nowMs)) {
      notices.push(notice);
      this.book.delivered(notice);
    }
    return notices;
  }

  told(): string[] {
    return this.notices().map(({ event, isReminder, troubles }) =>
      [isReminder ? 'still' : '', event, ...troubles.map(({ dataset, code }) => dataset ?? code)].join(' ').trim(),
    );
  }
}

let played: Played;
beforeEach(() => {
  played = new Played();
});

test('a trouble is told once, and once more when it is over', () => {
  expect(played.begin('CONNECT_FAILED').told()).toEqual(['failure CONNECT_FAILED']);
  expect(played.begin('CONNECT_FAILED').told()).toEqual([]);
  expect(played.end().told()).toEqual(['recovery CONNECT_FAILED']);
  expect(played.told()).toEqual([]);
});

test('a trouble that becomes another one is told again', () => {
  played.begin('CONNECT_FAILED').told();
  expect(played.begin('ACCESS_DENIED').told()).toEqual(['failure ACCESS_DENIED']);
});

test('what failed, worked and failed again is told each time', () => {
  played.begin('TIMEOUT').told();
  played.end().told();
  expect(played.begin('TIMEOUT').told()).toEqual(['failure TIMEOUT']);
});

test('all datasets that fail in one run are one message', () => {
  played.begin('CONFLICT', 'a').begin('CONFLICT', 'b').begin('STALE', 'b', 'stale');
  expect(played.told()).toEqual(['failure a b', 'stale b']);
  expect(played.end('a').end('b', 'stale').told()).toEqual(['recovery a b']);
});

test('a message says how much else is wrong with the job', () => {
  played.begin('CONFLICT', 'a').told();
  const [notice] = played.begin('CONFLICT', 'b').notices();
  expect(notice).toMatchObject({ troublesRemaining: 1, troubles: [{ dataset: 'b' }] });
});

test('a message of very many datasets is bounded, and says how many it left out', () => {
  for (let index = 0; index < 50; index += 1) played.begin('CONFLICT', `d${index}`);
  const [notice] = played.notices();
  expect(notice!.troubles).toHaveLength(20);
  expect(notice!.troublesLeftOut).toBe(30);
});

test('what lasts is told again after a while, all of it in one message', () => {
  played.begin('CONFLICT', 'a').told();
  played.nowMs += hourMs;
  played.begin('CONFLICT', 'b').told();
  played.nowMs += dayMs - hourMs - 1;
  expect(played.told()).toEqual([]);
  played.nowMs += 1;
  expect(played.told()).toEqual(['still failure a b']);
  played.nowMs += hourMs;
  expect(played.told()).toEqual([]);
});

test('a clock that was wrong delays no reminder for years', () => {
  played.nowMs += 400 * dayMs;
  played.begin('CONFLICT', 'a').told();
  played.nowMs -= 400 * dayMs;
  expect(played.told()).toEqual(['still failure a']);
  expect(played.told()).toEqual([]);
});

describe('a notification for some things only', () => {
  test('of one job', () => {
    played = new Played(commandNotification({ jobs: ['web2'] }));
    expect(played.begin('TIMEOUT').begin('TIMEOUT', null, 'run', 'web2').notices()).toMatchObject([{ job: 'web2' }]);
  });

  test('of failures: neither what is stale nor its end is told', () => {
    played = new Played(commandNotification({ on: ['failure', 'recovery'] }));
    played.begin('STALE', 'a', 'stale').begin('CONFLICT', 'b');
    expect(played.told()).toEqual(['failure b']);
    expect(played.end('a', 'stale').told()).toEqual([]);
    expect(played.end('b').told()).toEqual(['recovery b']);
  });

  test('of failures without their end: the next one is told all the same', () => {
    played = new Played(commandNotification({ on: ['failure'] }));
    expect(played.begin('TIMEOUT').told()).toEqual(['failure TIMEOUT']);
    expect(played.end().told()).toEqual([]);
    expect(played.begin('TIMEOUT').told()).toEqual(['failure TIMEOUT']);
  });

  test('of recoveries alone', () => {
    played = new Played(commandNotification({ on: ['recovery'] }));
    expect(played.begin('TIMEOUT').told()).toEqual([]);
    expect(played.end().told()).toEqual(['recovery TIMEOUT']);
  });
});

describe('a job that fails and recovers all the time', () => {
  function flap(times: number): number {
    let messages = 0;
    for (let index = 0; index < times; index += 1) {
      messages += played.begin('TIMEOUT').told().length;
      messages += played.end().told().length;
      played.nowMs += minuteMs;
    }
    return messages;
  }

  test('is told of at most ten times within an hour, then in one message with their number', () => {
    expect(flap(30)).toBe(10);
    played.nowMs += hourMs;
    const [notice, ...others] = played.notices();
    expect(others).toEqual([]);
    expect(notice).toMatchObject({ event: 'failure', troubles: [], untold: 25, troublesRemaining: 0 });
    expect(played.notices()).toEqual([]);
  });

  test('is told as it is in the end, when it still fails then', () => {
    flap(30);
    played.begin('ACCESS_DENIED').told();
    played.nowMs += hourMs;
    expect(played.notices()).toMatchObject([{ event: 'failure', troubles: [{ code: 'ACCESS_DENIED' }], untold: 25 }]);
  });

  test('does not keep another job from being told of', () => {
    flap(30);
    expect(played.begin('CONFLICT', 'a', 'run', 'web2').told()).toEqual(['failure a']);
  });
});

describe('telling that fails', () => {
  test('is tried again, ever more rarely, in the order of what happened', () => {
    played.begin('TIMEOUT');
    played.book.reconcile(played.troubles, played.nowMs);
    played.end();
    played.book.reconcile(played.troubles, played.nowMs);
    const waits: number[] = [];
    for (let attempt = 0; attempt < 9; attempt += 1) {
      const notice = played.book.due(played.nowMs)!;
      expect(notice.event).toBe('failure');
      const waitMs = played.book.failed(notice, played.nowMs);
      waits.push(waitMs / minuteMs);
      expect(played.book.due(played.nowMs + waitMs - 1)).toBeNull();
      played.nowMs += waitMs;
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
    expect(played.told()).toEqual(['failure TIMEOUT', 'recovery TIMEOUT']);
  });

  test('is given up after three days, and that is said', () => {
    played.begin('TIMEOUT');
    played.book.reconcile(played.troubles, played.nowMs);
    played.book.failed(played.book.due(played.nowMs)!, played.nowMs);
    played.nowMs += 3 * dayMs + 1;
    expect(played.book.due(played.nowMs)).toBeNull();
    expect(played.dropped).toMatchObject([{ event: 'failure', troubles: [{ code: 'TIMEOUT' }] }]);
    // It still fails: that is told as a reminder, by then.
    expect(played.told()).toEqual(['still failure TIMEOUT']);
  });

  test('does not wait for years when the clock was wrong', () => {
    played.nowMs += 400 * dayMs;
    played.begin('TIMEOUT');
    played.book.reconcile(played.troubles, played.nowMs);
    played.book.failed(played.book.due(played.nowMs)!, played.nowMs);
    played.nowMs -= 400 * dayMs;
    expect(played.book.due(played.nowMs)).toMatchObject({ event: 'failure' });
  });

  test('lets the oldest go when too many wait', () => {
    for (let hour = 0; hour < 120; hour += 1) {
      played.begin(hour % 2 === 0 ? 'TIMEOUT' : 'CONNECT_FAILED');
      played.book.reconcile(played.troubles, played.nowMs);
      played.nowMs += hourMs / 2;
    }
    expect(played.book.state.outbox).toHaveLength(100);
    expect(played.dropped).toHaveLength(20);
  });
});

test('after a restart nothing is told twice, and nothing is forgotten', () => {
  played.begin('CONFLICT', 'a').told();
  played.begin('CONFLICT', 'b');
  played.book.reconcile(played.troubles, played.nowMs);
  played.restart();
  expect(played.told()).toEqual(['failure b']);
  played.restart();
  expect(played.told()).toEqual([]);
  expect(played.end('a').told()).toEqual(['recovery a']);
});

test('a job that is no longer configured is forgotten without a word', () => {
  played.begin('TIMEOUT').told();
  played.end();
  played.book.keepJobs(new Set(['web2']));
  expect(played.told()).toEqual([]);
  expect(played.book.state).toEqual({ told: {}, sentMs: {}, untold: {}, outbox: [] });
});
