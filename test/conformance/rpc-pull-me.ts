import { describe, expect, test, vi } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { Pull, RequestContext, RPCHandler, RPCRequester } from '../../src/rpc/interfaces.ts';
import { everyCall, filesystem, sessionHandler, largeVersion as version } from '../support/session.ts';
import { hang, initial } from '../support/transfers.ts';
import type { Requesters } from './rpc.ts';

/** The inverted roles. */
export function describePullMe({ name, connectedClient, isVersion2 }: Requesters): void {
  describe(`${name}: PullMe`, () => {
    const policy = { initialReplicationPolicy: 'most_recent' } as const;
    const pulling = (pull: Pull): Partial<RPCHandler> => ({ pullMe: () => Promise.resolve(pull) });
    const result = {
      filesystem,
      ok: false,
      code: 'BUSY',
      message: 'é',
      notices: ['n'],
      missing: ['m'],
      bytes: 7,
      steps: 2,
    };
    const report = { filesystems: [result] };

    test('every call works inside it, the report arrives, and calls work afterwards', async () => {
      const inside: unknown[] = [];
      const handled: string[] = [];
      const client = await connectedClient({
        async pullMe(request) {
          await Promise.resolve();
          inside.push(request);
          return async (puller) => {
            inside.push((await everyCall(puller)).map(({ ok }) => ok));
            return report;
          };
        },
      });
      for (let round = 0; round < 3; round++) {
        inside.length = 0;
        expect(await client.pullMe(policy, sessionHandler(handled))).toEqual(isVersion2 ? report : null);
        expect(inside).toEqual([policy, Array(6).fill(true)]);
        expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
      }
      expect(handled).toHaveLength(3 * (isVersion2 ? 6 : 4));
    });

    test('a pull that fails fails the push', async () => {
      const client = await connectedClient(
        pulling(() => Promise.reject(new SnapferryError('BUSY', 'the disk is full'))),
      );
      const pushed = client.pullMe(policy, sessionHandler([]));
      await expect(pushed).rejects.toMatchObject(isVersion2 ? { code: 'BUSY' } : { code: 'CONNECTION_LOST' });
      if (!isVersion2) return;
      await expect(pushed).rejects.toThrow('the disk is full');
      expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
    });

    test('an error of the pushed handler reaches the pull, which can go on', async () => {
      const seen: unknown[] = [];
      const client = await connectedClient(
        pulling(async (puller) => {
          seen.push(
            await puller.filesystems({ roots: null }).catch((error: unknown) => (error as SnapferryError).code),
          );
          seen.push(await puller.filesystemVersions({ filesystem }));
          return report;
        }),
      );
      const failing = () => Promise.reject(new SnapferryError('ACCESS_DENIED', 'not yours'));
      await client.pullMe(policy, { ...sessionHandler([]), filesystems: failing });
      expect(seen).toEqual([isVersion2 ? 'ACCESS_DENIED' : 'INTERNAL', [version, expect.anything()]]);
    });

    test('a PullMe inside one is refused, a close inside one does nothing', async () => {
      const client = await connectedClient(
        pulling(async (puller) => {
          await expect(puller.pullMe(policy, sessionHandler([]))).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
          await puller.close();
          expect(await puller.filesystems({ roots: null })).toEqual([filesystem]);
          return report;
        }),
      );
      expect(await client.pullMe(policy, sessionHandler([]))).toEqual(isVersion2 ? report : null);
    });

    test('its client is of no use after it', async () => {
      const kept: RPCRequester[] = [];
      const client = await connectedClient(
        pulling((puller) => {
          kept.push(puller);
          return Promise.resolve(report);
        }),
      );
      await client.pullMe(policy, sessionHandler([]));
      await expect(kept[0]!.filesystems({ roots: null })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
      expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
    });

    test('a transfer the pull has left open is stopped', async () => {
      const client = await connectedClient(
        pulling(async (puller) => {
          await puller.initialTransfer(initial);
          return report;
        }),
      );
      const pushed = client.pullMe(policy, sessionHandler([]));
      if (!isVersion2) {
        await expect(pushed).rejects.toMatchObject({ connectionDead: true });
        return;
      }
      expect(await pushed).toEqual(report);
      expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
    });

    test('without a handler for it, it is denied', async () => {
      const client = await connectedClient({ pullMe: undefined });
      await expect(client.pullMe(policy, sessionHandler([]))).rejects.toMatchObject({
        code: isVersion2 ? 'ACCESS_DENIED' : 'INTERNAL',
      });
      expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
    });

    test('timeoutMs is for the confirmation, not for the pull', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      try {
        const client = await connectedClient(
          pulling(async (puller) => {
            // Once this is answered, the confirmation has arrived.
            await puller.filesystems({ roots: null });
            vi.advanceTimersByTime(5001);
            await puller.filesystems({ roots: null });
            return report;
          }),
        );
        const pushed = await client.pullMe(policy, sessionHandler([]), { timeoutMs: 5000 });
        expect(pushed).toEqual(isVersion2 ? report : null);
      } finally {
        vi.useRealTimers();
      }
    });

    test('cancelled, the push fails and both sides are told', async () => {
      const hanging = hang();
      const abort = new AbortController();
      const pullEnded: unknown[] = [];
      const client = await connectedClient(
        pulling(async (puller) => {
          await puller.filesystems({ roots: null }).catch((error: unknown) => pullEnded.push(error));
          return report;
        }),
      );
      const handler = {
        ...sessionHandler([]),
        filesystems: (_: unknown, context: RequestContext) => hanging.until(context),
      };
      const pushed = client.pullMe(policy, handler, { signal: abort.signal });
      void hanging.begun.then(() => abort.abort());
      await expect(pushed).rejects.toMatchObject({ code: 'CANCELLED' });
      await hanging.stopped;
      await expect.poll(() => pullEnded).toHaveLength(1);
      expect(pullEnded[0]).toBeInstanceOf(SnapferryError);
    });
  });
}
