import { describe, expect, it } from 'vitest';
import { createEventQueue } from '../../src/replication/event-queue.ts';
import type { ReplicationEvent } from '../../src/replication/replication.ts';
import { SnapferryError } from '../../src/errors.ts';
import { collect } from '../support/replication-fixture.ts';

const retrying = (name: string): ReplicationEvent => ({
  kind: 'retrying',
  filesystem: [name],
  error: new SnapferryError('BUSY', 'x'),
});
const progress = (name: string, done: number): ReplicationEvent => ({
  kind: 'sourceProgress',
  filesystem: [name],
  progress: { message: '', done, total: null },
});
const short = (events: readonly ReplicationEvent[]) =>
  events.map((event) =>
    event.kind === 'sourceProgress'
      ? `${event.filesystem.join('/')} ${event.progress.done ?? '?'}`
      : event.kind === 'retrying'
        ? `${event.filesystem?.join('/') ?? ''}!`
        : event.kind,
  );

describe('createEventQueue', () => {
  it('keeps the latest of what nobody has read yet, and never reorders across another event', async () => {
    const queue = createEventQueue();
    queue.push(progress('a', 1));
    queue.push(progress('b', 1));
    queue.push(progress('a', 2));
    queue.push(retrying('a'));
    queue.push(progress('a', 3));
    queue.push(progress('a', 4));
    queue.end();
    expect(short(await collect(queue.events))).toEqual(['a 2', 'b 1', 'a!', 'a 4']);
  });

  it('does not change an event that has been read', async () => {
    const queue = createEventQueue();
    queue.push(progress('a', 1));
    const first = await queue.events.next();
    queue.push(progress('a', 2));
    queue.end();
    expect(short([first.value as ReplicationEvent])).toEqual(['a 1']);
    expect(short(await collect(queue.events))).toEqual(['a 2']);
  });

  it('wakes a waiting reader', async () => {
    const queue = createEventQueue();
    const reading = collect(queue.events);
    await Promise.resolve();
    queue.push(retrying('a'));
    await Promise.resolve();
    queue.push(retrying('b'));
    queue.end();
    expect(short(await reading)).toEqual(['a!', 'b!']);
  });

  it('throws after the last event when it ended with an error', async () => {
    const queue = createEventQueue();
    queue.push(retrying('a'));
    queue.end(new Error('listing failed'));
    expect((await queue.events.next()).done).toBe(false);
    await expect(queue.events.next()).rejects.toThrow('listing failed');
  });

  it('stays small when nobody reads', async () => {
    const queue = createEventQueue();
    for (let n = 0; n < 100_000; n += 1) queue.push(progress('a', n));
    queue.end();
    expect(short(await collect(queue.events))).toEqual(['a 99999']);
  });
});
