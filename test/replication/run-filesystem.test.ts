import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { ReplicationSink } from '../../src/sink.ts';
import type { MemoryBackend } from '../support/memory-backend.ts';
import { collect, replicationFixture } from '../support/replication-fixture.ts';
import type { ReplicationFixture } from '../support/replication-fixture.ts';

let fixture: ReplicationFixture;
let source: MemoryBackend;
let target: MemoryBackend;
let connected: ReplicationFixture['connected'];
let start: ReplicationFixture['start'];
let run: ReplicationFixture['run'];

beforeEach(() => {
  fixture = replicationFixture();
  ({ source, target, connected, start, run } = fixture);
});
afterEach(() => fixture.close());

const text = (letter: string, bytes = 3500) => letter.repeat(bytes);

describe('one dataset', () => {
  it('once the connection is dead, fails the rest with what killed it and leaves the sink alone', async () => {
    for (const name of ['a', 'b', 'c']) source.snapshot(name, 's1', text(name, 200_000));
    const connection = await connected();
    source.faults.sourceBytes = (offset, filesystem) => {
      if (filesystem[0] === 'b' && offset >= 2000) connection.cut();
    };
    const asked: string[] = [];
    target.faults.call = (name, filesystem) => void asked.push(`${name} ${filesystem?.join('/') ?? ''}`);
    const results = await run({ client: connection.client });
    expect(results.map(({ ok, code }) => (ok ? 'ok' : code))).toEqual(['ok', 'CONNECTION_LOST', 'CONNECTION_LOST']);
    expect(results[2]?.message).toMatch(/not attempted.*gone/);
    expect(asked).not.toContain('sink.createParents c');
  });

  it('a lost TransferCompleted is a notice, and the next run heals it', async () => {
    source.snapshot('a', 's1', '1');
    source.faults.call = (name) => {
      if (name === 'transferCompleted') throw new SnapferryError('BUSY', 'pool is busy');
    };
    const [result] = await run();
    expect(result).toMatchObject({
      ok: true,
      steps: 1,
      notices: [expect.stringMatching(/not told that @s1.*pool is busy/)],
    });
    expect(source.list('a')).not.toContain('#cursor_job');
    source.faults = {};
    expect((await run())[0]).toMatchObject({ ok: true, steps: 0, notices: [] });
    expect(source.list('a')).toBe('@s1 #cursor_job');
  });

  it('waits for what is busy, on either side', async () => {
    source.snapshot('a', 's1', text('1'));
    const busy = new Map<string, number>();
    const twice = (name: string) => {
      const count = (busy.get(name) ?? 0) + 1;
      busy.set(name, count);
      if (count <= 2 && name !== 'transferEstimate') throw new SnapferryError('BUSY', `${name} is busy`);
    };
    source.faults.call = (name) => {
      if (name !== 'transferCompleted') twice(name);
    };
    target.faults.call = (name) => {
      if (name === 'sink.filesystemVersions' || name === 'sink.resumeState') twice(name);
    };
    const replication = await start();
    const events = await collect(replication);
    expect((await replication.report).filesystems[0]).toMatchObject({ ok: true, steps: 1 });
    const retries = events.flatMap((event) => (event.kind === 'retrying' ? [event.error.message] : []));
    expect(retries.length).toBe(10);
  });

  it('gives up on what stays busy, and never repeats what is not', async () => {
    source.snapshot('busy', 's1', '1');
    source.snapshot('bug', 's1', '1');
    const calls: string[] = [];
    const sink: ReplicationSink = {
      ...target.sink,
      receive(request) {
        calls.push(request.filesystem[0]!);
        if (request.filesystem[0] === 'busy') throw new SnapferryError('BUSY', 'locked by process 7');
        throw new TypeError('undefined is not a function');
      },
    };
    const results = await run({ sink });
    expect(results.map(({ code }) => code)).toEqual(['BUSY', 'INTERNAL']);
    expect(calls).toEqual(['busy', 'busy', 'busy', 'bug']);
  });

  it('names what a committed version lacks, and does not call that a success', async () => {
    source.snapshot('a', 's1', '1');
    source.snapshot('a', 's2', '2');
    const sink: ReplicationSink = {
      ...target.sink,
      async receive(request, bytes, signal) {
        await target.sink.receive(request, bytes, signal);
        return {
          notices: ['owners were not applied'],
          missing: ['secret', ...Array.from({ length: 300 }, (_, n) => `f${n}`)],
        };
      },
    };
    const [result] = await run({ sink, policy: 'all' });
    expect(result).toMatchObject({ ok: false, code: 'SOURCE_FAILED', steps: 2 });
    expect(result?.message).toMatch(/could not read: "secret", "f0", .* and \d+ more$/);
    expect(result?.missing.length).toBe(101);
    expect(result?.notices).toEqual(['owners were not applied', 'owners were not applied']);
    expect(source.list('a')).toContain('#cursor_job');
  });

  it('does not call an incomplete version good in the next run either, which finds nothing to do', async () => {
    source.snapshot('a', 's1', '1');
    const sink: ReplicationSink = { ...target.sink, missing: () => Promise.resolve(['secret']) };
    await run({ sink });
    const [again] = await run({ sink });
    expect(again).toMatchObject({ ok: false, code: 'SOURCE_FAILED', steps: 0, missing: ['secret'] });
  });

  it('discards the rest of an interrupted receive that is of no more use', async () => {
    source.snapshot('a', 's1', '1');
    source.snapshot('a', 's2', '2');
    target.datasets.set('a', {
      versions: [],
      partial: { fromGuid: null, toGuid: 99n, content: new Uint8Array(3) },
      createTXG: 0n,
    });
    expect((await run())[0]).toMatchObject({ ok: true, steps: 1 });
    expect(target.datasets.get('a')?.partial).toBeNull();
  });

  it('tells of a snapshot that cannot be sent', async () => {
    source.snapshot('a', 's1', '1');
    const stored = source.datasets.get('a')!;
    stored.versions.push({
      version: { ...stored.versions[0]!.version, name: 'nameless', guid: 0n },
      content: new Uint8Array(),
    });
    expect((await run())[0]?.notices).toEqual(['@nameless at the source was left out: it has no guid']);
  });

  it('does several datasets at once when told so', async () => {
    for (const name of ['a', 'b', 'c', 'd']) source.snapshot(name, 's1', text(name));
    expect((await run({ concurrency: 3 })).every(({ ok }) => ok)).toBe(true);
    for (const name of ['a', 'b', 'c', 'd']) expect(target.content(name, 's1')).toBe(text(name));
  });

  it('a base destroyed between plan and send fails the dataset, and the next run says what is the matter', async () => {
    source.snapshot('a', 's1', '1');
    source.bookmark('a', 's1', 'mark');
    await run();
    source.snapshot('a', 's2', '2');
    source.faults.call = (name) => {
      if (name !== 'transferEstimate') return;
      source.faults = {};
      for (const version of ['@s1', '#mark', '#cursor_job']) source.destroy('a', version);
      source.snapshot('a', 's3', '3');
    };
    expect((await run())[0]).toMatchObject({ ok: false, code: 'VERSION_NOT_FOUND', steps: 0 });
    expect(target.list('a')).toBe('@s1');
    expect((await run())[0]).toMatchObject({ ok: false, code: 'CONFLICT' });
    expect(target.list('a')).toBe('@s1');
  });

  it('starts anew when the source cannot use the token', async () => {
    const { guid } = source.snapshot('a', 's1', text('1'));
    const content = Buffer.from(text('?', 2000));
    target.datasets.set('a', { versions: [], partial: { fromGuid: null, toGuid: guid, content }, createTXG: 0n });
    const tokens: unknown[] = [];
    const { client } = await connected({
      ...source.handler,
      initialTransfer({ resumeToken, ...request }, context) {
        tokens.push(resumeToken);
        return source.handler.initialTransfer(request, context);
      },
    });
    const replication = await start({ client });
    const events = await collect(replication);
    expect(tokens).toEqual([`${guid}::2000`]);
    expect(events.find(({ kind }) => kind === 'stepStarted')).toMatchObject({ resumed: false });
    expect((await replication.report).filesystems[0]).toMatchObject({ ok: true });
    expect(target.content('a', 's1')).toBe(text('1'));
  });

  it('gives up what has arrived and starts anew when the source refuses the token', async () => {
    const { guid } = source.snapshot('a', 's1', text('1'));
    source.snapshot('a', 's2', text('2'));
    const content = Buffer.from(text('?', 2000));
    target.datasets.set('a', { versions: [], partial: { fromGuid: null, toGuid: guid, content }, createTXG: 0n });
    const calls: string[] = [];
    target.faults.call = (name) => void calls.push(name);
    const { client } = await connected({
      ...source.handler,
      initialTransfer(request, context) {
        calls.push(`initialTransfer ${request.resumeToken ?? 'without a token'}`);
        if (request.resumeToken === undefined) return source.handler.initialTransfer(request, context);
        throw new SnapferryError('RESUME_TOKEN_INVALID', 'made anew under the same name');
      },
    });
    const [result] = await run({ client });
    expect(result).toMatchObject({
      ok: true,
      steps: 2,
      notices: [expect.stringMatching(/began anew: .*made anew under/)],
    });
    expect(target.list('a')).toBe('@s1 @s2');
    expect(target.content('a', 's1')).toBe(text('1'));
    expect(calls.filter((name) => /initial|discard/.test(name))).toEqual([
      `initialTransfer ${guid}::2000`,
      'sink.discardPartial',
      'initialTransfer without a token',
    ]);
  });

  it('does not start anew twice, nor where no token was sent', async () => {
    source.snapshot('a', 's1', text('1'));
    let asked = 0;
    const { client } = await connected({
      ...source.handler,
      initialTransfer() {
        asked += 1;
        throw new SnapferryError('RESUME_TOKEN_INVALID', 'whatever');
      },
    });
    expect((await run({ client }))[0]).toMatchObject({ ok: false, code: 'RESUME_TOKEN_INVALID' });
    expect(asked).toBe(1);
  });

  it('names a dataset in a conflict as its users do', async () => {
    source.snapshot('a', 's1', '1');
    target.snapshot('a', 's2', '2');
    const [result] = await run({ formatName: (filesystem) => `/${filesystem.join('/')}` });
    expect(result).toMatchObject({ code: 'CONFLICT', message: expect.stringMatching(/^\/a: both sides/) as string });
  });
});
