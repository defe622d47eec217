import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { ok } from '../../../src/daemon/control/control-command.ts';
import type { ControlResult } from '../../../src/daemon/control/control-command.ts';
import { SnapferryError } from '../../../src/errors.ts';
import type { ByteStream } from '../../../src/transport/byte-stream.ts';
import { settled } from '../../support/fake-clock.ts';
import { greeting, moment, plainCommand, RawClient, serverFixture } from './control-fixture.ts';

const call = (cmd: string, opts: object = {}): string => `${JSON.stringify({ cmd, opts })}\n`;
const internal = { status: false, message: "internal error; the daemon's log says more", code: 'INTERNAL' };

async function greeted(fixture: ReturnType<typeof serverFixture>, options?: { bufferBytesMax: number }) {
  const connection = RawClient.of(fixture.server, options);
  expect(await connection.client.line()).toEqual(greeting);
  return connection;
}

describe('a command', () => {
  test('is answered, after its progress; and so is the next one', async () => {
    const fixture = serverFixture();
    const { client, served } = await greeted(fixture);
    await client.send(call('echo', { text: 'a', times: 2 }));
    expect(await client.line()).toEqual({ status: true, progress: { time: 0 } });
    expect(await client.line()).toEqual({ status: true, progress: { time: 1 } });
    expect(await client.line()).toEqual({ status: true, response: { text: 'a' } });
    await client.send(call('refuse'));
    expect(await client.line()).toEqual({ status: false, message: 'not now', code: 'BUSY' });
    await client.stream.close();
    await served;
    expect(fixture.server.clients()).toEqual([]);
    expect(fixture.clock.waiting).toBe(0);
  });

  test('several sent at once are answered in their order, the last after the client’s end', async () => {
    const { client, served } = await greeted(serverFixture());
    await client.send(call('echo', { text: 'a' }) + call('nothing') + call('echo', { text: 'b' }));
    await client.stream.end();
    expect(await client.lines()).toEqual([
      { status: true, response: { text: 'a' } },
      {
        status: false,
        message: expect.stringContaining('there is no command nothing; there are: echo') as string,
        code: 'UNKNOWN_REQUEST',
      },
      { status: true, response: { text: 'b' } },
    ]);
    await served;
  });

  test.each([
    ['what is no JSON', 'status\n', 'INVALID_REQUEST', 'is not JSON'],
    ['an empty line', '\n', 'INVALID_REQUEST', 'is not JSON'],
    ['no command', '[]\n', 'INVALID_REQUEST', 'not a command'],
    ['a wrong option', call('echo', { text: 1 }), 'INVALID_REQUEST', 'text: Invalid input'],
    ['a misspelt option', call('echo', { text: 'a', tims: 1 }), 'INVALID_REQUEST', 'tims'],
    [
      'an option for one that has none',
      call('refuse', { x: 1 }),
      'INVALID_REQUEST',
      'refuse cannot have these options',
    ],
    ['the name of something in JavaScript', call('constructor'), 'UNKNOWN_REQUEST', 'no command constructor'],
    ['too long a line', `${' '.repeat(300)}${call('refuse')}`, 'LIMIT_EXCEEDED', 'may have 200 bytes'],
  ])('%s is refused, and the connection lives', async (_what, line, code, message) => {
    const { client, served } = await greeted(serverFixture({ limits: { commandBytesMax: 200 } }));
    await client.send(line + call('echo', { text: 'still here' }));
    await client.stream.end();
    expect(await client.lines()).toEqual([
      { status: false, code, message: expect.stringContaining(message) as string },
      { status: true, response: { text: 'still here' } },
    ]);
    await served;
  });

  test('half a line at the end is told, and not carried out', async () => {
    let runs = 0;
    const count = plainCommand(() => Promise.resolve(ok(++runs)));
    const { client, served } = await greeted(serverFixture({ commands: { count } }));
    await client.send(call('count').trimEnd());
    await client.stream.end();
    expect(await client.lines()).toEqual([
      { status: false, code: 'INVALID_REQUEST', message: 'the connection ended inside a command' },
    ]);
    await served;
    expect(runs).toBe(0);
  });

  test('what is wrong is not told at any length', async () => {
    const { client } = await greeted(serverFixture());
    const opts = Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`no-such-option-${index}`, 1]));
    await client.send(call('refuse', opts));
    const answer = (await client.line()) as { message: string };
    expect(answer.message.length).toBeLessThan(2100);
    client.stream.abort(new Error('enough'));
  });
});

describe('a fault in a command', () => {
  const secret = 'secret inner detail';
  const faults: Record<string, () => Promise<ControlResult>> = {
    throws: () => Promise.reject(new TypeError(secret)),
    'throws-at-once': () => {
      throw new Error(secret);
    },
    'throws-internal': () => Promise.reject(new SnapferryError('INTERNAL', secret)),
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what a careless command may do
    'throws-nothing': () => Promise.reject(undefined),
    'returns-nothing': () => Promise.resolve(undefined as unknown as ControlResult),
    'returns-bare': () => Promise.resolve({ secret } as unknown as ControlResult),
    'returns-half': () => Promise.resolve({ kind: 'failed', message: secret } as unknown as ControlResult),
    'returns-unsendable': () => Promise.resolve(ok({ secret, big: 1n })),
  };

  test.each(Object.keys(faults))('%s: logged in full, told as an internal error', async (name) => {
    const fixture = serverFixture({ commands: { fault: plainCommand(faults[name]!) } });
    const { client, served } = await greeted(fixture);
    await client.send(call('fault') + call('echo', { text: 'b' }));
    expect(await client.line()).toEqual(internal);
    expect(await client.line()).toEqual({ status: true, response: { text: 'b' } });
    await client.stream.close();
    await served;
    expect(fixture.log.filter(({ level }) => level === 50)).toHaveLength(1);
  });

  test('the log has what is not told', async () => {
    const fixture = serverFixture({ commands: { fault: plainCommand(faults['throws']!) } });
    const { client } = await greeted(fixture);
    await client.send(call('fault'));
    await client.line();
    const entry = fixture.log.find(({ level }) => level === 50);
    expect(entry).toMatchObject({ cmd: 'fault', client: 1, err: { message: secret, type: 'TypeError' } });
    client.stream.abort(new Error('enough'));
  });

  test('an error with a code is told', async () => {
    const refuses = plainCommand(() => Promise.reject(new SnapferryError('DATASET_NOT_FOUND', 'no job called x')));
    const { client } = await greeted(serverFixture({ commands: { refuses } }));
    await client.send(call('refuses'));
    expect(await client.line()).toEqual({ status: false, code: 'DATASET_NOT_FOUND', message: 'no job called x' });
    client.stream.abort(new Error('enough'));
  });

  test('a schema that throws is one, too', async () => {
    const odd = { admit: () => { throw new Error(secret); } }; // prettier-ignore
    const { client } = await greeted(serverFixture({ commands: { odd } }));
    await client.send(call('odd'));
    expect(await client.line()).toEqual(internal);
    client.stream.abort(new Error('enough'));
  });

  test('progress that cannot be sent fails the command, awaited or not', async () => {
    const bad = plainCommand(async ({ progress }) => {
      void progress({ big: 1n });
      await progress({ big: 1n });
      return ok();
    });
    const { client } = await greeted(serverFixture({ commands: { bad } }));
    await client.send(call('bad'));
    expect(await client.line()).toEqual(internal);
    client.stream.abort(new Error('enough'));
  });

  test('progress after the answer is not sent', async () => {
    const late = moment<() => Promise<void>>();
    const talks = plainCommand((context) => {
      late.come(() => context.progress('late'));
      return Promise.resolve(ok());
    });
    const { client } = await greeted(serverFixture({ commands: { talks } }));
    await client.send(call('talks'));
    expect(await client.line()).toEqual({ status: true, response: null });
    await (
      await late.promise
    )();
    await client.send(call('echo', { text: 'a' }));
    expect(await client.line()).toEqual({ status: true, response: { text: 'a' } });
    client.stream.abort(new Error('enough'));
  });
});

describe('the log', () => {
  test('has the short form at info, the long one at debug, secrets in neither', async () => {
    const fixture = serverFixture();
    const { client } = await greeted(fixture);
    await client.send(call('echo', { text: 'hello', password: 'hunter2' }));
    await client.line();
    expect(fixture.log.map(({ level, msg }) => [level, msg])).toEqual([
      [30, 'asked: echo hello'],
      [20, 'asked in full: echo {"text":"hello","password":"[redacted]"}'],
    ]);
    client.stream.abort(new Error('enough'));
  });

  test('has nothing of a line that could not be read', async () => {
    const fixture = serverFixture();
    const { client } = await greeted(fixture);
    await client.send('hunter2\n');
    await client.line();
    expect(JSON.stringify(fixture.log)).not.toContain('hunter2');
    client.stream.abort(new Error('enough'));
  });

  test('does not call it a failure that a client leaves', async () => {
    const fixture = serverFixture();
    for (const leave of ['close', 'abort'] as const) {
      const { client, served } = await greeted(fixture);
      await client.send(call('echo', { text: 'a', times: 1000 }));
      if (leave === 'close') await client.stream.close();
      else client.stream.abort(new Error('gone'));
      await served;
    }
    expect(fixture.log.filter(({ level }) => (level as number) > 30)).toEqual([]);
    expect(fixture.clock.waiting).toBe(0);
  });
});

describe('time', () => {
  const limits = { idleMsMax: 1000, receiveMsMax: 100, sendMsMax: 50 };

  test('a client without a command is told, and sent away', async () => {
    const fixture = serverFixture({ limits });
    const { client, served } = await greeted(fixture);
    await fixture.clock.pass(999);
    await client.send(call('refuse'));
    await client.line();
    await fixture.clock.pass(999);
    expect(fixture.server.clients()).toHaveLength(1);
    await fixture.clock.pass(1);
    expect(await client.lines()).toEqual([{ status: false, code: 'TIMEOUT', message: 'no command came for 1000 ms' }]);
    await served;
    expect(fixture.clock.waiting).toBe(0);
  });

  test('a command that does not become whole is told so, however slowly it drips', async () => {
    const fixture = serverFixture({ limits });
    const { client, served } = await greeted(fixture);
    for (const letter of '{"cmd":"') {
      await client.send(letter);
      await fixture.clock.pass(13);
    }
    expect(await client.lines()).toEqual([
      { status: false, code: 'TIMEOUT', message: 'a command did not arrive whole within 100 ms' },
    ]);
    await served;
    expect(fixture.clock.waiting).toBe(0);
  });

  test('a client that takes nothing is dropped, and its command told so', async () => {
    const over = moment<unknown>();
    const floods = plainCommand(async ({ progress, signal }) => {
      try {
        for (;;) await progress('x'.repeat(1000));
      } finally {
        over.come(signal.reason);
      }
    });
    const fixture = serverFixture({ limits, commands: { floods } });
    const { client, served } = await greeted(fixture, { bufferBytesMax: 4000 });
    await client.send(call('floods'));
    await fixture.clock.pass(49);
    expect(fixture.server.clients()).toHaveLength(1);
    await fixture.clock.pass(1);
    await served;
    expect(await over.promise).toMatchObject({ code: 'TIMEOUT', wait: 'send' });
    await expect(client.lines()).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    expect(fixture.clock.waiting).toBe(0);
  });

  test('a command takes as long as it takes', async () => {
    const done = moment();
    const waits = plainCommand(() => done.promise.then(() => ok('done')));
    const fixture = serverFixture({ limits, commands: { waits } });
    const { client } = await greeted(fixture);
    await client.send(call('waits'));
    await fixture.clock.pass(1_000_000);
    done.come();
    expect(await client.line()).toEqual({ status: true, response: 'done' });
    client.stream.abort(new Error('enough'));
  });

  test('progress waits for the client: nothing is piled up', async () => {
    let told = 0;
    const floods = plainCommand(async ({ progress }) => {
      for (; told < 1000; told++) await progress('x'.repeat(1000));
      return ok();
    });
    const fixture = serverFixture({ commands: { floods } });
    const { client } = await greeted(fixture, { bufferBytesMax: 4000 });
    await client.send(call('floods'));
    await settled();
    expect(told).toBeLessThan(6);
    let lines = 0;
    for (let line = await client.line(); !('response' in (line as object)); line = await client.line()) lines++;
    expect(lines).toBe(1000);
    client.stream.abort(new Error('enough'));
  });
});

describe('a client that is gone while its command is carried out', () => {
  test('is found out by asking, and the command is told', async () => {
    const over = moment<unknown>();
    const waits = plainCommand(async ({ signal }) => {
      await once(signal, 'abort');
      over.come(signal.reason);
      throw signal.reason as Error;
    });
    const fixture = serverFixture({ commands: { waits }, limits: { probeMs: 100 } });
    const { client, served } = await greeted(fixture);
    await client.send(call('waits'));
    await settled();
    await client.stream.close();
    await fixture.clock.pass(100);
    expect(await over.promise).toMatchObject({ code: 'CONNECTION_LOST' });
    await served;
    expect(fixture.clock.waiting).toBe(0);
  });

  test('but one that has only ended its side gets its answer', async () => {
    const done = moment();
    const waits = plainCommand(() => done.promise.then(() => ok('done')));
    const fixture = serverFixture({ commands: { waits }, limits: { probeMs: 100 } });
    const { client, served } = await greeted(fixture);
    await client.send(call('waits'));
    await client.stream.end();
    await fixture.clock.pass(250);
    done.come();
    expect(await client.lines()).toEqual([
      { status: true, progress: null },
      { status: true, progress: null },
      { status: true, response: 'done' },
    ]);
    await served;
    expect(fixture.clock.waiting).toBe(0);
  });
});

describe('taking over', () => {
  const shout = plainCommand(async ({ takeOver }) => {
    const stream = await takeOver({ mode: 'shout' });
    for await (const piece of stream.source)
      await stream.write(Buffer.from(Buffer.from(piece).toString().toUpperCase()));
    return ok('not sent any more');
  });

  test('the command has the stream, with what came before it had', async () => {
    const fixture = serverFixture({ commands: { shout } });
    const { client, served } = await greeted(fixture);
    await client.send(`${call('shout')}"early"\n`);
    expect(await client.line()).toEqual({ status: true, response: { mode: 'shout' } });
    expect(await client.line()).toBe('EARLY');
    await client.send('"late"\n');
    expect(await client.line()).toBe('LATE');
    // Nothing of the line protocol's times is left.
    expect(fixture.clock.waiting).toBe(0);
    await client.stream.end();
    expect(await client.line()).toBeUndefined();
    await served;
  });

  test('only once, and not after the answer', async () => {
    const outcomes: unknown[] = [];
    const late = moment<() => Promise<ByteStream>>();
    const twice = plainCommand(async ({ takeOver }) => {
      await takeOver();
      outcomes.push(await takeOver().catch((error: unknown) => error));
      return ok();
    });
    const tooLate = plainCommand(({ takeOver }) => {
      late.come(takeOver);
      return Promise.resolve(ok());
    });
    const { client, served } = await greeted(serverFixture({ commands: { twice, 'too-late': tooLate } }));
    await client.send(call('too-late'));
    await client.line();
    await expect((await late.promise)()).rejects.toMatchObject({ code: 'INTERNAL' });
    await client.send(call('twice'));
    expect(await client.lines()).toEqual([{ status: true, response: null }]);
    await served;
    expect(outcomes).toMatchObject([{ code: 'INTERNAL' }]);
  });

  test('a fault then ends the connection, without a word into what is no longer ours', async () => {
    const breaks = plainCommand(async ({ takeOver }) => {
      await takeOver();
      throw new TypeError('inner detail');
    });
    const fixture = serverFixture({ commands: { breaks } });
    const { client, served } = await greeted(fixture);
    await client.send(call('breaks'));
    await served;
    await expect(client.lines()).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    expect(fixture.log.find(({ level }) => level === 50)).toMatchObject({
      cmd: 'breaks',
      err: { message: 'inner detail' },
    });
  });

  test('a stop ends it at once, whatever the grace', async () => {
    const follows = plainCommand(async ({ takeOver, signal }) => {
      const stream = await takeOver();
      if (!signal.aborted) await once(signal, 'abort');
      await stream.write(Buffer.from('"bye"\n'));
      return ok();
    });
    const fixture = serverFixture({ commands: { follows } });
    const { client } = await greeted(fixture);
    await client.send(call('follows'));
    await client.line();
    await fixture.server.close(60_000);
    expect(await client.lines()).toEqual(['bye']);
    expect(fixture.clock.waiting).toBe(0);
  });

  test('also one that was asked for before it took over', async () => {
    const go = moment();
    const follows = plainCommand(async ({ takeOver, signal }) => {
      await go.promise;
      await takeOver();
      if (!signal.aborted) await once(signal, 'abort');
      return ok();
    });
    const fixture = serverFixture({ commands: { follows } });
    const { client } = await greeted(fixture);
    await client.send(call('follows'));
    await settled();
    const closed = fixture.server.close(60_000);
    go.come();
    await closed;
    expect(await client.lines()).toEqual([{ status: true, response: null }]);
  });
});

describe('stopping', () => {
  const goodbye = { status: false, code: 'GOODBYE', message: expect.stringContaining('stopping') as string };

  test('clients without a command are told and sent away at once', async () => {
    const fixture = serverFixture();
    const waiting = await greeted(fixture);
    const halfway = await greeted(fixture);
    await halfway.client.send('{"cmd"');
    await settled();
    await fixture.server.close(60_000);
    for (const { client } of [waiting, halfway]) expect(await client.lines()).toEqual([goodbye]);
    const late = RawClient.of(fixture.server);
    expect(await late.client.lines()).toEqual([greeting, goodbye]);
    expect(fixture.clock.waiting).toBe(0);
  });

  test('commands may end within the grace; the next one of the same client is not begun', async () => {
    const done = moment();
    const waits = plainCommand(() => done.promise.then(() => ok('done')));
    const fixture = serverFixture({ commands: { waits } });
    const { client } = await greeted(fixture);
    await client.send(call('waits') + call('echo', { text: 'a' }));
    await settled();
    const closed = fixture.server.close(1000);
    await fixture.clock.pass(999);
    done.come();
    await closed;
    expect(await client.lines()).toEqual([{ status: true, response: 'done' }, goodbye]);
    expect(fixture.clock.waiting).toBe(0);
  });

  test('after it their signal is aborted, and what they say then is still told', async () => {
    const waits = plainCommand(async ({ signal }) => {
      await once(signal, 'abort');
      throw new SnapferryError('CANCELLED', 'stopped half way');
    });
    const fixture = serverFixture({ commands: { waits } });
    const { client } = await greeted(fixture);
    await client.send(call('waits'));
    await settled();
    const closed = fixture.server.close(1000);
    await fixture.clock.pass(1000);
    await closed;
    expect(await client.lines()).toEqual([{ status: false, code: 'CANCELLED', message: 'stopped half way' }, goodbye]);
  });

  test('one that does not end even then is left behind', async () => {
    const never = plainCommand(() => new Promise<ControlResult>(() => undefined));
    const fixture = serverFixture({ commands: { never }, limits: { settleMsMax: 500 } });
    const { client } = await greeted(fixture);
    await client.send(call('never'));
    await settled();
    const closed = fixture.server.close(60_000);
    await fixture.clock.pass(1000);
    // It can only get shorter.
    void fixture.server.close(0);
    await fixture.clock.pass(500);
    await closed;
    await expect(client.lines()).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    expect(fixture.clock.waiting).toBe(0);
  });

  test('one client can be sent away from outside, and the others stay', async () => {
    const fixture = serverFixture();
    const one = await greeted(fixture);
    const other = await greeted(fixture);
    fixture.server.clients()[0]!.requestStop(0);
    expect(await one.client.lines()).toEqual([goodbye]);
    await one.served;
    await other.client.send(call('refuse'));
    expect(await other.client.line()).toMatchObject({ code: 'BUSY' });
    await settled();
    expect(fixture.server.clients().map(({ id, cmd }) => ({ id, cmd }))).toEqual([{ id: 2, cmd: null }]);
    await fixture.server.close();
  });

  test('clients are listed with what they do', async () => {
    const waits = plainCommand(async ({ signal }) => {
      await once(signal, 'abort');
      return ok();
    });
    const fixture = serverFixture({ commands: { waits } });
    const { client } = await greeted(fixture);
    await client.send(call('waits'));
    await settled();
    expect(fixture.server.clients()).toMatchObject([{ id: 1, cmd: 'waits', sinceMs: fixture.clock.nowMs() }]);
    const closed = fixture.server.close();
    await fixture.clock.pass(0);
    await closed;
  });
});

describe('many', () => {
  test('clients at once each get their own answers', async () => {
    const fixture = serverFixture();
    const answers = await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const { client, served } = await greeted(fixture);
        await client.send(call('echo', { text: String(index), times: index }));
        await client.stream.end();
        const lines = await client.lines();
        await served;
        return [lines.length, lines.at(-1)];
      }),
    );
    expect(answers).toEqual(
      Array.from({ length: 60 }, (_, index) => [index + 1, { status: true, response: { text: String(index) } }]),
    );
    expect(fixture.server.clients()).toEqual([]);
  });

  test('more than allowed are told to come again, and more than that are dropped', async () => {
    const fixture = serverFixture({ limits: { clientsMax: 2 } });
    const served = [await greeted(fixture), await greeted(fixture)];
    const refused = [RawClient.of(fixture.server), RawClient.of(fixture.server)];
    const dropped = RawClient.of(fixture.server);
    await expect(dropped.client.lines()).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    for (const { client, served } of refused) {
      expect(await client.lines()).toEqual([
        greeting,
        { status: false, code: 'BUSY', message: expect.stringContaining('2 clients') as string },
      ]);
      await served;
    }
    for (const { client } of served) {
      await client.send(call('refuse'));
      expect(await client.line()).toMatchObject({ message: 'not now' });
      await client.stream.close();
    }
    await Promise.all(served.map((one) => one.served));
    const next = await greeted(fixture);
    await next.client.stream.close();
  });
});
