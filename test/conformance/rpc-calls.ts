import { describe, expect, test } from 'vitest';
import type { Progress, RPCHandler, Transfer } from '../../src/rpc/interfaces.ts';
import { bytesOf, seededBytes } from '../support/recorded.ts';
import { everyCall, filesystem, sessionHandler, largeVersion as version } from '../support/session.ts';
import { defined, incremental, initial, transferOf, turn } from '../support/transfers.ts';
import type { Requesters } from './rpc.ts';

/** Calls, their order and their answers. */
export function describeCalls({ name, connectedClient, isVersion2 }: Requesters): void {
  describe(`${name}: calls`, () => {
    test('every call brings its request there and its answer back, exactly', async () => {
      const handled: string[] = [];
      const client = await connectedClient(sessionHandler(handled));
      const results = await everyCall(client);
      expect(results.map((result) => (result.ok ? result.value : result.code))).toEqual([
        [filesystem],
        [version, { type: 'bookmark', name: 'b', guid: 1n, createTXG: 2n, creation: null }],
        isVersion2 ? 12345 : null,
        seededBytes('initialTransfer', 300),
        seededBytes('incrementalTransfer', 300),
        undefined,
      ]);
      const calls = ['filesystems', 'filesystemVersions', 'initialTransfer', 'incrementalTransfer'];
      expect(handled.filter((call) => calls.includes(call))).toEqual(calls);
      expect(handled.includes(`transferCompleted ${version.guid} job`)).toBe(isVersion2);
    });

    test('the handler gets what was asked', async () => {
      const asked: unknown[] = [];
      const offer = (request: unknown): Promise<Transfer> => {
        asked.push(request);
        return Promise.resolve(transferOf(Buffer.alloc(0)));
      };
      const client = await connectedClient({ initialTransfer: offer, incrementalTransfer: offer });
      const whole = { ...incremental, resumeToken: 'token é', jobId: 'job' };
      await bytesOf(await client.incrementalTransfer(whole));
      await bytesOf(await client.initialTransfer(initial));
      // A version-1 answer could not say whether the token was used.
      const arrived = isVersion2 ? whole : { ...whole, resumeToken: undefined };
      expect(asked).toEqual([arrived, { ...initial, resumeToken: undefined, jobId: undefined }].map(defined));
    });

    test('a transfer says what it is', async () => {
      const offered = { ...transferOf(Buffer.from('x')), estimatedBytes: 7, resumed: true };
      const client = await connectedClient({ initialTransfer: () => Promise.resolve(offered) });
      const { format, estimatedBytes, resumed, bytes } = await client.initialTransfer(initial);
      const unknown = { format: null, estimatedBytes: null, resumed: false };
      expect({ format, estimatedBytes, resumed }).toEqual(
        isVersion2 ? { format: 'directory', estimatedBytes: 7, resumed: true } : unknown,
      );
      expect(await bytesOf({ bytes })).toEqual(Buffer.from('x'));
    });

    test('a thousand calls made ahead are answered in order', async () => {
      const client = await connectedClient({
        filesystemVersions: ({ filesystem: [count] }) => Promise.resolve([{ ...version, name: count! }]),
      });
      const order: string[] = [];
      const names = Array.from({ length: 1000 }, (_, count) => String(count));
      await Promise.all(
        names.map(async (count) => {
          const [answer] = await client.filesystemVersions({ filesystem: [count] });
          order.push(answer!.name);
        }),
      );
      expect(order).toEqual(names);
    });

    test('an empty stream is whole, empty pieces are nothing', async () => {
      for (const pieces of [[], [Buffer.alloc(0)], [Buffer.from('a'), Buffer.alloc(0), Buffer.from('b')]]) {
        const client = await connectedClient({ initialTransfer: () => Promise.resolve(transferOf(...pieces)) });
        expect(await bytesOf(await client.initialTransfer(initial))).toEqual(Buffer.concat(pieces));
      }
    });
  });

  describe(`${name}: progress`, () => {
    const reporting: Partial<RPCHandler> = {
      async initialTransfer(_, context) {
        context.progress({ message: 'preparing', done: 1, total: null });
        await turn();
        const bytes = (async function* () {
          yield Buffer.from('a');
          await turn();
          context.progress({ message: 'half', done: 0.5, total: 2 });
          await turn();
          yield Buffer.from('b');
        })();
        return { ...transferOf(), bytes };
      },
    };

    test('comes before the answer and during the stream', async () => {
      const client = await connectedClient(reporting);
      const news: Progress[] = [];
      const transfer = await client.initialTransfer(initial, { onProgress: (progress) => news.push(progress) });
      expect((await bytesOf(transfer)).toString()).toBe('ab');
      expect(news.map(({ message }) => message)).toEqual(isVersion2 ? ['preparing', 'half'] : []);
    });

    test('that its receiver fails on is no failure of the call', async () => {
      const client = await connectedClient(reporting);
      const onProgress = (): never => {
        throw new Error('the terminal is gone');
      };
      expect((await bytesOf(await client.initialTransfer(initial, { onProgress }))).toString()).toBe('ab');
      expect(await client.filesystems({ roots: null })).toEqual([filesystem]);
    });
  });
}
