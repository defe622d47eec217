import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { bytesOf } from '../support/recorded.ts';
import { filesystem, sessionHandler } from '../support/session.ts';
import { hang, initial, transferOf } from '../support/transfers.ts';
import type { Requesters } from './rpc.ts';

/** Leaving a call, and the connection. */
export function describeCancelling({ name, connected, connectedClient, isVersion2 }: Requesters): void {
  describe(`${name}: cancelling`, () => {
    test('before the call: it is not made', async () => {
      const handled: string[] = [];
      const client = await connectedClient(sessionHandler(handled));
      await expect(client.filesystems({ roots: null }, { signal: AbortSignal.abort() })).rejects.toMatchObject({
        code: 'CANCELLED',
      });
      expect(handled).toEqual([]);
      expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
    });

    test.each([
      ['signal', 'CANCELLED'],
      ['timeoutMs', 'TIMEOUT'],
    ] as const)('by %s while the handler works: the caller is let go at once', async (means, code) => {
      const hanging = hang();
      const client = await connectedClient({ filesystems: (_, context) => hanging.until(context) });
      const abort = new AbortController();
      const options = means === 'signal' ? { signal: abort.signal } : { timeoutMs: 1 };
      const asked = client.filesystems({ roots: null }, options);
      if (means === 'signal') void hanging.begun.then(() => abort.abort());
      await expect(asked).rejects.toMatchObject({ code, connectionDead: false });
      if (!isVersion2) return;
      await hanging.stopped;
      expect(await client.filesystemVersions({ filesystem })).toHaveLength(2);
    });

    test('the reason given is the error, if it is ours', async () => {
      const hanging = hang();
      const client = await connectedClient({ filesystems: (_, context) => hanging.until(context) });
      const abort = new AbortController();
      const asked = client.filesystems({ roots: null }, { signal: abort.signal });
      void hanging.begun.then(() => abort.abort(new SnapferryError('GOODBYE', 'shutting down')));
      await expect(asked).rejects.toMatchObject({ code: 'GOODBYE', message: 'shutting down' });
    });

    test.each(['signal', 'break', 'return'] as const)('by %s in mid-stream: the source is closed', async (means) => {
      const closing = hang();
      const endless = (async function* (): AsyncGenerator<Uint8Array> {
        try {
          for (;;) {
            await Promise.resolve();
            yield Buffer.alloc(1000);
          }
        } finally {
          closing.stop();
        }
      })();
      const client = await connectedClient({
        initialTransfer: () => Promise.resolve({ ...transferOf(), bytes: endless }),
      });
      const abort = new AbortController();
      const { bytes } = await client.initialTransfer(initial, { signal: abort.signal });
      if (means === 'break') {
        for await (const piece of bytes) if (piece.byteLength > 0) break;
      } else {
        const iterator = bytes[Symbol.asyncIterator]();
        await iterator.next();
        if (means === 'signal') {
          abort.abort();
          await expect(iterator.next()).rejects.toMatchObject({ code: 'CANCELLED' });
        } else {
          await iterator.return?.();
          expect(await iterator.next()).toEqual({ done: true, value: undefined });
        }
      }
      await closing.stopped;
      if (isVersion2) expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
    });

    test('a transfer nobody began to read can be left', async () => {
      const client = await connectedClient();
      const { bytes } = await client.initialTransfer(initial);
      await bytes[Symbol.asyncIterator]().return?.();
      if (isVersion2) expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
      else await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code: 'CANCELLED' });
    });

    test('after the end it changes nothing', async () => {
      const abort = new AbortController();
      const client = await connectedClient();
      const { bytes } = await client.initialTransfer(initial, { signal: abort.signal });
      expect(await bytesOf({ bytes })).toHaveLength(300);
      abort.abort();
      expect(await bytes[Symbol.asyncIterator]().next()).toEqual({ done: true, value: undefined });
      expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
    });
  });

  describe(`${name}: the end`, () => {
    test('close is idempotent, waits for calls under way, and refuses later ones', async () => {
      const { client, released } = await connected();
      const pending = client.filesystems({ roots: null });
      await Promise.all([client.close('bye'), client.close(), expect(pending).resolves.toEqual([filesystem])]);
      await client[Symbol.asyncDispose]();
      await released;
      await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
      await expect(client.initialTransfer(initial)).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    });

    test('close stops an open transfer, and its reader is told', async () => {
      const { client } = await connected();
      const { bytes } = await client.initialTransfer(initial);
      const iterator = bytes[Symbol.asyncIterator]();
      await iterator.next();
      await client.close();
      await expect(iterator.next()).rejects.toMatchObject({ code: 'CANCELLED' });
    });

    test('forceClose rejects what is pending and what comes later, and stops the handler', async () => {
      const hanging = hang();
      const { client, released } = await connected({ filesystems: (_, context) => hanging.until(context) });
      const asked = [client.filesystems({ roots: null }), client.filesystemVersions({ filesystem })];
      const refused = asked.map((call) => expect(call).rejects.toBeInstanceOf(SnapferryError));
      await hanging.begun;
      client.forceClose();
      await Promise.all(refused);
      await hanging.stopped;
      await released;
      await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code: 'CANCELLED' });
      await client.close();
    });

    test('forceClose breaks a stream', async () => {
      const { client } = await connected();
      const { bytes } = await client.initialTransfer(initial);
      const iterator = bytes[Symbol.asyncIterator]();
      await iterator.next();
      client.forceClose();
      const readOn = async (): Promise<void> => {
        while ((await iterator.next()).done !== true);
      };
      await expect(readOn()).rejects.toMatchObject({ code: 'CANCELLED' });
    });
  });
}
