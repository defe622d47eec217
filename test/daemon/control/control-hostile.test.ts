import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { controlClient } from '../../../src/daemon/control/control-client.ts';
import { SnapferryError } from '../../../src/errors.ts';
import { memoryPair } from '../../../src/transport/memory.ts';
import { repetitions } from '../../support/repetitions.ts';
import { greeting, RawClient, serverFixture } from './control-fixture.ts';

const numRuns = repetitions(300, 20);

const wellFormed = fc.oneof(
  fc.record({ text: fc.string(), times: fc.nat(5) }).map((opts) => JSON.stringify({ cmd: 'echo', opts })),
  fc.constant('{"cmd":"refuse"}'),
);
const malformed = fc.oneof(
  fc.string(),
  fc.json(),
  fc.jsonValue().map((value) => JSON.stringify({ cmd: 'echo', opts: value })),
  fc.string().map((cmd) => JSON.stringify({ cmd })),
  fc.constantFrom(
    '{"cmd":"echo","opts":{"__proto__":{"text":"x"}}}',
    '['.repeat(5000),
    '\u0000',
    '{"cmd":"__proto__"}',
  ),
  fc.nat(4000).map((bytes) => `"${'x'.repeat(bytes)}"`),
);
const line = fc.oneof({ weight: 1, arbitrary: wellFormed }, { weight: 3, arbitrary: malformed });

function pieces(text: string, cuts: readonly number[]): Uint8Array[] {
  const bytes = Buffer.from(text);
  const ends = [...cuts.map((at) => at % (bytes.byteLength + 1)), bytes.byteLength].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

describe('a hostile client', () => {
  test('gets one answer for each line, and the server is whole afterwards', async () => {
    const fixture = serverFixture({ limits: { commandBytesMax: 2000 } });
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 10 }), async (lines, cuts) => {
        const flat = lines.map((text) => text.replaceAll('\n', ' '));
        const { client, served } = RawClient.of(fixture.server);
        const answers = client.lines();
        for (const piece of pieces(flat.map((text) => `${text}\n`).join(''), cuts)) await client.stream.write(piece);
        await client.stream.end();
        const [first, ...rest] = await answers;
        await served;
        expect(first).toEqual(greeting);
        expect(rest.filter((answer) => !('progress' in (answer as object)))).toHaveLength(flat.length);
        expect(JSON.stringify(rest)).not.toContain('INTERNAL');
      }),
      { numRuns },
    );
    expect(fixture.server.clients()).toEqual([]);
    expect(fixture.clock.waiting).toBe(0);
    expect(fixture.log.filter(({ level }) => (level as number) > 30)).toEqual([]);
  });

  test('random bytes, cut off anywhere, leave nothing behind', async () => {
    const fixture = serverFixture({ limits: { commandBytesMax: 2000 } });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), fc.boolean(), async (bytes, isAborted) => {
        const { client, served } = RawClient.of(fixture.server);
        const answers = client.lines().catch((error: unknown) => error);
        await client.stream.write(bytes);
        if (isAborted) client.stream.abort(new Error('cut'));
        else await client.stream.end();
        await answers;
        await served;
      }),
      { numRuns },
    );
    expect(fixture.server.clients()).toEqual([]);
    expect(fixture.clock.waiting).toBe(0);
  });

  test('an endless line costs no memory and ends when its time is over', async () => {
    const fixture = serverFixture({ limits: { commandBytesMax: 1000, receiveMsMax: 100 } });
    const { client, served } = RawClient.of(fixture.server);
    const answers = client.lines();
    const flood = (async () => {
      const piece = Buffer.alloc(64 * 1024, 0x78);
      for (let megabytes = 0; megabytes < 64; megabytes += 1 / 16) await client.stream.write(piece);
    })();
    await flood;
    await fixture.clock.pass(100);
    expect(await answers).toMatchObject([greeting, { code: 'TIMEOUT' }]);
    await served;
  });
});

describe('a hostile daemon', () => {
  test('makes a command fail, and nothing else', async () => {
    const reply = fc.oneof(
      fc.string(),
      fc.json(),
      fc.constantFrom(
        '{"status":true,"progress":1}',
        '{"status":true,"response":{"a":1}}',
        '{"status":false,"message":"x"}',
      ),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(reply, { maxLength: 5 }),
        fc.array(fc.nat(), { maxLength: 6 }),
        async (replies, cuts) => {
          const [near, far] = memoryPair({ poison: true });
          await far.write(Buffer.from('{"version":"1"}\n'));
          const client = await controlClient(near);
          const attempt = client.attempt('x');
          for (const piece of pieces(replies.join('\n'), cuts)) await far.write(piece).catch(() => undefined);
          await far.end();
          const result = await attempt;
          if (result.kind === 'failed') expect(result.error).toBeInstanceOf(SnapferryError);
          else expect(['received', 'refused', 'closed']).toContain(result.kind);
          await client.close();
          await far.close();
        },
      ),
      { numRuns },
    );
  });
});
