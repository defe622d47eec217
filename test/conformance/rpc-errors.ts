import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { RPCRequester } from '../../src/rpc/interfaces.ts';
import { seededBytes } from '../support/recorded.ts';
import { filesystem, sessionHandler, largeVersion as version } from '../support/session.ts';
import { failing, incremental, initial, read, transferOf } from '../support/transfers.ts';
import type { Requesters } from './rpc.ts';

/** Failures of handlers and sources. */
export function describeErrors({ name, connectedClient, isVersion2 }: Requesters): void {
  describe(`${name}: errors`, () => {
    const failures: [string, (client: RPCRequester) => Promise<unknown>][] = [
      ['filesystems', (client) => client.filesystems({ roots: null })],
      ['filesystemVersions', (client) => client.filesystemVersions({ filesystem })],
      ['initialTransfer', (client) => client.initialTransfer(initial)],
      ['incrementalTransfer', (client) => client.incrementalTransfer(incremental)],
      ['transferEstimate', (client) => client.transferEstimate({ ...incremental, from: null })],
      ['transferCompleted', (client) => client.transferCompleted({ ...initial, jobId: 'j' })],
      ['pullMe', (client) => client.pullMe({ initialReplicationPolicy: 'all' }, sessionHandler([]))],
    ];
    const known = failures.filter(([call]) => isVersion2 || !/Estimate|Completed/.test(call));

    test.each(known)('of %s arrive with code, retryable and text, and the next call works', async (call, ask) => {
      const failing = (): Promise<never> =>
        Promise.reject(new SnapferryError('BUSY', 'tank is being <moved>', { retryable: false }));
      const client = await connectedClient({ [call]: failing });
      const error = await ask(client).catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(SnapferryError);
      expect(error).toMatchObject({ code: isVersion2 ? 'BUSY' : 'INTERNAL', retryable: false, connectionDead: false });
      expect((error as Error).message).toContain('tank is being <moved>');
      expect(await client.filesystemVersions({ filesystem: ['other'] }).catch(() => 'failed')).toEqual(
        call === 'filesystemVersions' ? 'failed' : [version, expect.anything()],
      );
    });

    test.each(known)('of %s that are not ours are INTERNAL', async (call, ask) => {
      const client = await connectedClient({
        [call]: () => {
          throw new TypeError('x is undefined');
        },
      });
      await expect(ask(client)).rejects.toMatchObject({ code: 'INTERNAL', retryable: false });
      expect(await client.transferEstimate({ ...incremental, from: null }).catch(() => 'failed')).toBe(
        call === 'transferEstimate' ? 'failed' : isVersion2 ? 12345 : null,
      );
    });

    test.each([0, 1, 150, 300])('a source that fails after %i of 300 bytes is never whole', async (good) => {
      const closed: string[] = [];
      const initialTransfer = () =>
        Promise.resolve({ ...transferOf(), bytes: failing(seededBytes('x', 300), good, closed) });
      const client = await connectedClient({ initialTransfer });
      const { parts, error } = await read(await client.initialTransfer(initial));
      expect(error).toMatchObject(isVersion2 ? { code: 'BUSY', connectionDead: false } : { connectionDead: true });
      expect(seededBytes('x', 300).subarray(0, parts.byteLength)).toEqual(parts);
      expect(closed).toEqual(['closed']);
      if (isVersion2) expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
      else await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ connectionDead: true });
    });

    test('a source that fails with an error that is not ours is SOURCE_FAILED', async () => {
      const bytes = (async function* (): AsyncGenerator<Uint8Array> {
        await Promise.resolve();
        yield Buffer.from('a');
        throw new Error('EIO');
      })();
      const client = await connectedClient({ initialTransfer: () => Promise.resolve({ ...transferOf(), bytes }) });
      const { error } = await read(await client.initialTransfer(initial));
      expect(error).toMatchObject(isVersion2 ? { code: 'SOURCE_FAILED' } : { connectionDead: true });
    });

    test('reading on after a failure fails again', async () => {
      const initialTransfer = () => Promise.resolve({ ...transferOf(), bytes: failing(Buffer.alloc(9), 3, []) });
      const client = await connectedClient({ initialTransfer });
      const iterator = (await client.initialTransfer(initial)).bytes[Symbol.asyncIterator]();
      const readAll = async (): Promise<void> => {
        while ((await iterator.next()).done !== true);
      };
      await expect(readAll()).rejects.toBeInstanceOf(SnapferryError);
      await expect(iterator.next()).rejects.toBeInstanceOf(SnapferryError);
    });
  });
}
