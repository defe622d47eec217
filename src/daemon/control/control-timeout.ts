import { SnapferryError } from '../../errors.ts';
import type { Clock } from '../../jobs/clock.ts';

/**
 * What was waited for when a time ran out. Of a client: `connect` (connection and greeting), `send`, `receive` (the next line of the
 * answer). Of the server: `idle` (a command), `receive` (the rest of a command), `send`.
 */
export type ControlWait = 'connect' | 'send' | 'receive' | 'idle';

/** A time of the control socket ran out: code `TIMEOUT`, and which time it was. */
export class ControlTimeoutError extends SnapferryError {
  readonly wait: ControlWait;

  constructor(wait: ControlWait, message: string) {
    super('TIMEOUT', message);
    this.wait = wait;
  }
}

/** Settles as `work` does, or rejects with what `onLate` makes once `limitMs` have passed; then nobody waits for `work` any more. */
export async function within<T>(clock: Clock, limitMs: number, work: Promise<T>, onLate: () => Error): Promise<T> {
  // It may still fail when nobody looks any more.
  work.catch(() => undefined);
  let stop: () => void = () => undefined;
  const late = new Promise<never>((_, reject) => {
    stop = clock.after(limitMs, () => reject(onLate()));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    stop();
  }
}
