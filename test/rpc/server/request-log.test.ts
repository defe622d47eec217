import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { pino } from 'pino';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { SnapferryError } from '../../../src/errors.ts';
import { answerCustom, customCall } from '../../../src/rpc/custom-requests.ts';
import type { RPCRequester } from '../../../src/rpc/interfaces.ts';
import type { RequestTrace } from '../../../src/rpc/request-in-progress.ts';
import { escapeText, longForm, shortForm } from '../../../src/rpc/request-log.ts';
import type { ReplicationServer } from '../../../src/rpc/server.ts';
import { answering, collected, connectTo, testServer } from '../../support/server-fixture.ts';

const filesystem = ['tank', 'home'];
const version = { type: 'snapshot', name: 'a', guid: 2n ** 64n - 1n, createTXG: 1n, creation: null };
const from = { ...version, type: 'bookmark', name: 'b', guid: 7n };

let server: ReplicationServer | undefined;
afterEach(async () => {
  await server?.disconnect(0);
  server = undefined;
});

const greet = customCall({
  type: 0x90,
  name: 'Greet',
  request: z.object({ whom: z.string(), secret: z.string() }),
  answer: 'ok',
  describe: ({ whom }) => whom,
});
const mute = customCall({ type: 0x91, name: 'Mute', request: z.object({ secret: z.string() }), answer: 'ok' });

/** The messages logged at this level and above while a client does this. */
async function logged(level: string, use: (client: RPCRequester) => Promise<unknown>): Promise<string[]> {
  const lines: string[] = [];
  const logger = pino({ level }, { write: (line: string) => lines.push((JSON.parse(line) as { msg: string }).msg) });
  const custom = [answerCustom(greet, () => Promise.resolve()), answerCustom(mute, () => Promise.resolve())];
  const protocols = [{ name: 'raw', open: () => Promise.reject(new SnapferryError('ACCESS_DENIED', 'no')) }];
  const pullMe = () => Promise.resolve(() => Promise.resolve({ filesystems: [] }));
  server = testServer({ logger, handler: answering({ custom, protocols, pullMe }) });
  const { client, served } = await connectTo(server);
  await use(client);
  await client.close('bye');
  await served;
  return lines.filter((line) => line.startsWith('asked'));
}

describe('each request has a short and a long log form', () => {
  const short: [string, (client: RPCRequester) => Promise<unknown>][] = [
    ['Filesystems', (client) => client.filesystems({ roots: null })],
    ['Filesystems tank pool', (client) => client.filesystems({ roots: ['tank', 'pool'] })],
    ['FilesystemVersions tank/home', (client) => client.filesystemVersions({ filesystem })],
    [
      'InitialTransfer tank/home@a',
      async (client) => collected((await client.initialTransfer({ filesystem, version })).bytes),
    ],
    [
      'IncrementalTransfer tank/home#b to @a',
      async (client) => collected((await client.incrementalTransfer({ filesystem, from, to: version })).bytes),
    ],
    ['TransferEstimate tank/home@a', (client) => client.transferEstimate({ filesystem, from: null, to: version })],
    ['TransferEstimate tank/home#b to @a', (client) => client.transferEstimate({ filesystem, from, to: version })],
    [
      'TransferCompleted tank/home@a nightly',
      (client) => client.transferCompleted({ filesystem, version, jobId: 'nightly' }),
    ],
    ['PullMe all', (client) => client.pullMe({ initialReplicationPolicy: 'all' }, answering())],
    ['Upgrade raw', (client) => client.upgrade('raw').catch(() => undefined)],
    ['Greet you', (client) => client.request(greet, { whom: 'you', secret: '1234' })],
    ['Mute', (client) => client.request(mute, { secret: '1234' })],
  ];

  test.each(short)('%s', async (form, use) => {
    expect(await logged('info', use)).toEqual([`asked: ${form}`, 'asked: Close bye']);
  });

  test('the long one has the whole body, u64 and all', async () => {
    const lines = await logged('debug', (client) => client.transferEstimate({ filesystem, from: null, to: version }));
    expect(lines[1]).toBe(
      'asked in full: TransferEstimate {"Filesystem":["tank","home"],"From":null,' +
        '"To":{"Type":"snapshot","Name":"a","Guid":18446744073709551615,"CreateTXG":1}}',
    );
  });

  test('nothing is written out where nobody logs', async () => {
    let written = 0;
    const described = customCall({ ...greet, describe: () => String(written++) });
    server = testServer({ handler: answering({ custom: [answerCustom(described, () => Promise.resolve())] }) });
    const { client } = await connectTo(server);
    await client.request(described, { whom: 'you', secret: '' });
    expect(written).toBe(0);
  });

  test('a program that cannot describe its own request does not fail it', async () => {
    const describe = (): never => {
      throw new Error('a bug');
    };
    const described = customCall({ ...greet, describe });
    const logger = pino({ level: 'debug' }, { write: () => undefined });
    server = testServer({ logger, handler: answering({ custom: [answerCustom(described, () => Promise.resolve())] }) });
    const { client } = await connectTo(server);
    await client.request(described, { whom: 'you', secret: '' });
  });
});

describe('what a peer wrote', () => {
  const nasty = 'a\n{"level":60}\u001b[2J\u202e\u2028\u0000\u{e0041}\ud800\\';

  test('cannot forge a line, move the cursor, or turn the text', async () => {
    const lines = await logged('debug', async (client) => {
      await client.filesystemVersions({ filesystem: [nasty] });
      await client.request(greet, { whom: nasty, secret: nasty });
    });
    expect(lines).toHaveLength(6);
    for (const line of lines) expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    expect(lines[0]).toBe(
      'asked: FilesystemVersions a\\u{a}{"level":60}\\u{1b}[2J\\u{202e}\\u{2028}\\u{0}\\u{e0041}\ufffd\\\\',
    );
  });

  test('in the text of an error is escaped in the log, and reaches the peer as it is', async () => {
    const lines: string[] = [];
    const logger = pino(
      { level: 'info' },
      { write: (line: string) => lines.push((JSON.parse(line) as { msg: string }).msg) },
    );
    const filesystems = () => Promise.reject(new SnapferryError('DATASET_NOT_FOUND', `no ${nasty}`));
    server = testServer({ logger, handler: answering({ filesystems }) });
    const { client } = await connectTo(server);
    await expect(client.filesystems({ roots: null })).rejects.toThrow('\u001b[2J');
    const failed = lines.filter((line) => line.startsWith('Filesystems failed'));
    expect(failed).toHaveLength(1);
    expect(failed[0]).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}]/u);
  });

  test('has an end', () => {
    const long = 'x'.repeat(10_000);
    expect(escapeText(long)).toHaveLength(301);
    expect(shortForm({ name: 'Filesystems', short: () => long })).toHaveLength(301);
    expect(longForm({ name: 'Filesystems', body: [long] })).toHaveLength(4001);
    expect(longForm({ name: 'Odd', body: { half: 0.5, large: 2n ** 63n } })).toBe(
      'Odd {"half":0.5,"large":"9223372036854775808"}',
    );
  });
});

describe('the tracing channel snapferry:request', () => {
  test('sees each request begin and end, and those that fail', async () => {
    const events: [string, string, string][] = [];
    const names = ['start', 'asyncEnd', 'error'] as const;
    const listeners = names.map((name) => {
      const listener = (message: unknown): void => {
        const { request, clientIdentity } = message as RequestTrace;
        events.push([name, request.name, clientIdentity]);
      };
      const traced = `tracing:snapferry:request:${name}`;
      subscribe(traced, listener);
      return () => unsubscribe(traced, listener);
    });
    try {
      const failure = new SnapferryError('DATASET_NOT_FOUND', 'no');
      server = testServer({ handler: answering({ filesystems: () => Promise.reject(failure) }) });
      const { client } = await connectTo(server);
      await expect(client.filesystems({ roots: null })).rejects.toMatchObject({ code: 'DATASET_NOT_FOUND' });
      expect(await client.filesystemVersions({ filesystem })).toEqual([]);
      await client.close();
    } finally {
      for (const stop of listeners) stop();
    }
    const of = (request: string) => events.filter(([, name]) => name === request).map(([event]) => event);
    expect(of('Filesystems')).toEqual(['start', 'error', 'asyncEnd']);
    expect(of('FilesystemVersions')).toEqual(['start', 'asyncEnd']);
    expect(new Set(events.map(([, , identity]) => identity))).toEqual(new Set(['web1']));
  });
});
