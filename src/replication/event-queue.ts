import type { ReplicationEvent } from './replication.ts';

/** Carries events from a run to whoever looks, if anybody does. */
export interface EventQueue {
  push(event: ReplicationEvent): void;
  /** No more events; with an error, the iteration throws it after the last one. */
  end(error?: Error): void;
  /** All events from the beginning on. Iterate once. */
  readonly events: AsyncGenerator<ReplicationEvent, void, undefined>;
}

/**
 * A queue that never makes the pusher wait. `bytes` and `sourceProgress` replace an unread predecessor of their kind and
 * dataset unless another event lies between, so an unread queue grows with the steps of the run, not with its
 * bytes. Once the reader has left, events are dropped.
 */
export function createEventQueue(): EventQueue {
  const waiting: { event: ReplicationEvent }[] = [];
  const replaceable = new Map<string, { event: ReplicationEvent }>();
  let ended: { readonly error: Error | undefined } | null = null;
  let readerLeft = false;
  let wake = () => {};

  async function* read(): AsyncGenerator<ReplicationEvent, void, undefined> {
    try {
      for (;;) {
        const box = waiting.shift();
        if (box !== undefined) {
          replaceable.clear();
          yield box.event;
        } else if (ended !== null) {
          if (ended.error !== undefined) throw ended.error;
          return;
        } else {
          await new Promise<void>((resolve) => (wake = resolve));
        }
      }
    } finally {
      readerLeft = true;
      waiting.length = 0;
    }
  }

  return {
    events: read(),
    push(event) {
      if (readerLeft) return;
      if (event.kind !== 'bytes' && event.kind !== 'sourceProgress') {
        replaceable.clear();
        waiting.push({ event });
      } else {
        const key = `${event.kind} ${event.filesystem.join('/')}`;
        const predecessor = replaceable.get(key);
        if (predecessor !== undefined) predecessor.event = event;
        else {
          const box = { event };
          replaceable.set(key, box);
          waiting.push(box);
        }
      }
      wake();
    },
    end(error) {
      ended ??= { error };
      wake();
    },
  };
}
