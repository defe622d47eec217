import { SnapferryError } from '../errors.ts';
import { linkAborts } from './aborting.ts';
import type { CallOptions } from './interfaces.ts';

/** What ends the wait for an answer. */
export interface CallLimit {
  /** Fires when the caller cancels or the time is up; undefined when neither can happen. */
  readonly signal: AbortSignal | undefined;
  /** The answer has begun: from here on only the caller can end it. */
  begun(): void;
  /** The call is over; nothing is listened to and no timer runs any more. */
  end(): void;
}

const nothing = (): void => undefined;

/** The limit that `signal` and `timeoutMs` of a call make together; counts from now, waiting for a turn included. */
export function callLimit({ signal, timeoutMs }: CallOptions, doing: string): CallLimit {
  if (timeoutMs === undefined) return { signal, begun: nothing, end: nothing };
  const abort = new AbortController();
  const unlink = linkAborts([signal], abort, doing);
  const timedOut = (): void => {
    const why = `${doing}: no answer within ${timeoutMs} ms`;
    abort.abort(new SnapferryError('TIMEOUT', why, { connectionDead: false }));
  };
  const timer = setTimeout(timedOut, timeoutMs);
  return {
    signal: abort.signal,
    begun: () => clearTimeout(timer),
    end() {
      clearTimeout(timer);
      unlink();
    },
  };
}
