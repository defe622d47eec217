import { describe, expect, it } from 'vitest';
import { errorCodes, SnapferryError } from '../../src/errors.ts';
import { mayRetry, retrying } from '../../src/replication/retry.ts';

const policy = { attemptsMax: 4, waitMsMin: 0, waitMsMax: 0 };

describe('mayRetry', () => {
  it('repeats over one connection only what was busy', () => {
    expect(errorCodes.filter((code) => mayRetry(new SnapferryError(code, 'x')))).toEqual(['BUSY']);
    expect(mayRetry(new SnapferryError('BUSY', 'x', { retryable: false }))).toBe(false);
    expect(mayRetry(new TypeError('a bug'))).toBe(false);
    expect(mayRetry('text')).toBe(false);
  });
});

describe('retrying', () => {
  function failing(times: number, error: () => unknown) {
    let attempts = 0;
    const attempt = () => {
      attempts += 1;
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- a backend may reject with anything
      return attempts <= times ? Promise.reject(error()) : Promise.resolve(attempts);
    };
    return { attempt, attempts: () => attempts };
  }
  const busy = () => new SnapferryError('BUSY', 'locked');

  it('repeats until it succeeds, telling each time', async () => {
    const told: string[] = [];
    const { attempt } = failing(3, busy);
    expect(await retrying(attempt, { policy, onRetry: (error) => told.push(error.message) })).toBe(4);
    expect(told).toEqual(['locked', 'locked', 'locked']);
  });

  it('gives up after as many attempts as the policy says, with the last error', async () => {
    const told: string[] = [];
    const { attempt, attempts } = failing(9, busy);
    const result = retrying(attempt, { policy, onRetry: (error) => told.push(error.message) });
    await expect(result).rejects.toMatchObject({ code: 'BUSY', message: 'locked' });
    expect([attempts(), told.length]).toEqual([4, 3]);
  });

  it.each([
    ['another code', () => new SnapferryError('CONNECTION_LOST', 'gone')],
    ['a TypeError, even one that looks like the network', () => new TypeError('fetch failed')],
    ['something that is no error', () => 'text'],
  ])('does not repeat %s', async (_what, error) => {
    const { attempt, attempts } = failing(9, error);
    await expect(retrying(attempt, { policy })).rejects.toThrow();
    expect(attempts()).toBe(1);
  });

  it('does not repeat when there is a reason not to', async () => {
    const { attempt, attempts } = failing(9, busy);
    await expect(retrying(attempt, { policy, unless: () => attempts() === 2 })).rejects.toMatchObject({ code: 'BUSY' });
    expect(attempts()).toBe(2);
  });

  it('an abort cuts the wait short', async () => {
    const cancel = new AbortController();
    const { attempt, attempts } = failing(9, busy);
    const result = retrying(attempt, {
      policy: { attemptsMax: 5, waitMsMin: 3_600_000, waitMsMax: 3_600_000 },
      signal: cancel.signal,
      onRetry: () => queueMicrotask(() => cancel.abort(new Error('enough'))),
    });
    await expect(result).rejects.toThrow('enough');
    expect(attempts()).toBe(1);
  });

  it('a success counts although the signal was aborted just then', async () => {
    const cancel = new AbortController();
    const attempt = () => {
      cancel.abort();
      return Promise.resolve('committed');
    };
    expect(await retrying(attempt, { policy, signal: cancel.signal })).toBe('committed');
  });
});
