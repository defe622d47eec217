import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { planReplication } from '../../src/replication/plan-replication.ts';
import { replicate } from '../../src/replication/replicate.ts';
import type { RPCHandler } from '../../src/rpc/interfaces.ts';
import type { ReplicationSink } from '../../src/sink.ts';
import { connectByWire, connectLocally } from '../support/connect.ts';
import type { MemoryBackend } from '../support/memory-backend.ts';
import { collect, outcomes, replicationFixture } from '../support/replication-fixture.ts';
import type { ReplicationFixture } from '../support/replication-fixture.ts';

const text = (letter: string, bytes = 3500) => letter.repeat(bytes);

describe.each([
  ['direct', connectLocally],
  ['by wire', connectByWire],
  ['by wire, version 1', (handler: RPCHandler) => connectByWire(handler, { maximumVersion: 1 })],
] as const)('replicate, %s', (how, connect) => {
  const isVersion1 = how.endsWith('version 1');

  let fixture: ReplicationFixture;
  let source: MemoryBackend;
  let target: MemoryBackend;
  let connected: ReplicationFixture['connected'];
  let options: ReplicationFixture['options'];
  let run: ReplicationFixture['run'];

  beforeEach(() => {
    fixture = replicationFixture(connect);
    ({ source, target, connected, options, run } = fixture);
  });
  afterEach(() => fixture.close());

  it('sends the newest, then what is new, then nothing', async () => {
    source.snapshot('a', 's1', text('1'));
    source.snapshot('a', 's2', text('2'));
    const [first] = await run();
    expect(first).toMatchObject({ ok: true, code: null, message: '', steps: 1, notices: [], missing: [] });
    expect(first?.bytes).toBeGreaterThan(3500);
    expect(target.list('a')).toBe('@s2');

    source.snapshot('a', 's3', text('3'));
    source.snapshot('a', 's4', '');
    expect(outcomes(await run())).toEqual(['a ok 2']);
    expect(target.list('a')).toBe('@s2 @s3 @s4');
    expect([2, 3, 4].map((n) => target.content('a', `s${n}`))).toEqual([text('2'), text('3'), '']);

    const [third] = await run();
    expect(third).toMatchObject({ ok: true, steps: 0, bytes: 0 });
  });

  it('sends all of them, oldest first, if told so', async () => {
    for (const name of ['s1', 's2', 's3']) source.snapshot('a', name, text(name));
    expect(outcomes(await run({ policy: 'all' }))).toEqual(['a ok 3']);
    expect(target.list('a')).toBe('@s1 @s2 @s3');
  });

  it('creates parents, and says which dataset has nothing to send', async () => {
    source.snapshot('a/b/c', 's1', 'x');
    source.datasets.set('empty', { versions: [], partial: null, createTXG: 0n });
    const results = await run();
    expect(outcomes(results)).toEqual(['a/b/c ok 1', 'empty ok 0']);
    expect(results[1]?.message).toMatch(/no snapshot/);
    expect([...target.datasets.keys()]).toEqual(['a', 'a/b', 'a/b/c']);
  });

  it('goes on from a bookmark', async () => {
    source.snapshot('a', 's1', '1');
    await run();
    source.bookmark('a', 's1', 'mark');
    source.snapshot('a', 's2', '2');
    source.destroy('a', '@s1');
    expect(outcomes(await run())).toEqual(['a ok 1']);
    expect(target.list('a')).toBe('@s1 @s2');
  });

  it('refuses names that could lead anywhere, each on its own, before the sink hears of them', async () => {
    source.snapshot('good', 's1', '1');
    const asked: string[] = [];
    target.faults.call = (name, filesystem) => void asked.push(`${name} ${filesystem?.join('/') ?? ''}`);
    const { client } = await connected({
      ...source.handler,
      filesystems: () => Promise.resolve([['..', 'etc'], ['a', ''], ['good'], [], ['x\n']]),
    });
    const results = await run({ client });
    expect(results.map(({ ok, code }) => (ok ? 'ok' : code))).toEqual([
      'INVALID_REQUEST',
      'INVALID_REQUEST',
      'ok',
      'INVALID_REQUEST',
      'INVALID_REQUEST',
    ]);
    expect(results[0]?.message).toContain('".."');
    expect(asked.filter((line) => !line.endsWith(' good'))).toEqual([]);
  });

  it('refuses a snapshot whose name could be an option or a path', async () => {
    source.snapshot('a', '-rf', '1');
    source.snapshot('b', '../x', '1');
    source.snapshot('c', 'fine', '1');
    expect(outcomes(await run())).toEqual(['a INVALID_REQUEST 0', 'b INVALID_REQUEST 0', 'c ok 1']);
  });

  it('selects and renames, and refuses two datasets in one place', async () => {
    for (const name of ['a', 'b', 'c', 'skip']) source.snapshot(name, 's1', name);
    const results = await run({
      select: (filesystem) => filesystem[0] !== 'skip',
      target: (filesystem) => ['backup', filesystem[0] === 'c' ? 'a' : filesystem[0]!],
    });
    expect(outcomes(results)).toEqual(['a ok 1', 'b ok 1', 'c INVALID_REQUEST 0']);
    expect(results[2]?.message).toMatch(/backup\/a, where a goes already/);
    expect(target.content('backup/a', 's1')).toBe('a');
    expect(target.content('backup/b', 's1')).toBe('b');
  });

  it('fails one dataset and does the others', async () => {
    for (const name of ['a', 'b', 'c']) source.snapshot(name, 's1', text(name));
    target.faults.sinkBytes = (_offset, filesystem) => {
      if (filesystem[0] === 'b') throw new SnapferryError('INTERNAL', 'no space left on device');
    };
    const results = await run();
    // A version-1 sender can only be stopped by dropping the connection.
    expect(outcomes(results)).toEqual([
      'a ok 1',
      'b INTERNAL 0',
      isVersion1 ? expect.stringMatching(/^c (?!ok)/) : 'c ok 1',
    ]);
    expect(results[1]?.message).toContain('no space left on device');
    expect(target.list('b')).toBe('');
  });

  it('reports a conflict and changes nothing', async () => {
    source.snapshot('a', 's1', '1');
    target.snapshot('a', 'other', '2');
    const [result] = await run();
    expect(result).toMatchObject({ ok: false, code: 'CONFLICT', steps: 0 });
    expect(result?.message).toMatch(/none in common/);
    expect(target.list('a')).toBe('@other');
  });

  it('cancelled in mid transfer, leaves what the next run resumes', async () => {
    source.snapshot('a', 's1', text('1', 10_000));
    source.snapshot('b', 's1', text('b'));
    const cancel = new AbortController();
    target.faults.sinkBytes = (offset) => {
      if (offset >= 4000) cancel.abort();
    };
    const results = await run({ signal: cancel.signal });
    expect(outcomes(results)).toEqual(['a CANCELLED 0', 'b CANCELLED 0']);
    target.faults = {};
    const left = target.datasets.get('a')?.partial?.content.byteLength ?? 0;
    expect(left).toBeGreaterThanOrEqual(3000);

    const [resumed, other] = await run();
    expect(other?.ok).toBe(true);
    expect(target.content('a', 's1')).toBe(text('1', 10_000));
    if (isVersion1) expect(resumed?.bytes).toBeGreaterThan(10_000);
    else expect(resumed?.bytes).toBeLessThan(10_000 - left + 200);
  });

  it('stops an endless sender when the sink fails, and the sink’s cause wins (scenario 16)', async () => {
    let hasStopped = false;
    const endless: RPCHandler = {
      ...source.handler,
      initialTransfer: (request, context) => {
        if (request.filesystem[0] !== 'endless') return source.handler.initialTransfer(request, context);
        const bytes = async function* () {
          try {
            for (;;) yield await Promise.resolve(new Uint8Array(1000));
          } finally {
            hasStopped = true;
          }
        };
        return Promise.resolve({ format: 'memory', estimatedBytes: null, resumed: false, bytes: bytes() });
      },
    };
    source.snapshot('endless', 's1', '');
    source.snapshot('next', 's1', 'fine');
    const sink: ReplicationSink = {
      ...target.sink,
      async receive(request, bytes, signal) {
        if (request.filesystem[0] !== 'endless') return target.sink.receive(request, bytes, signal);
        let count = 0;
        for await (const piece of bytes) if ((count += piece.byteLength) > 50_000) throw new Error('disk on fire');
        throw new Error('unreachable');
      },
    };
    const results = await run({ client: (await connected(endless)).client, sink });
    expect(results[0]).toMatchObject({ ok: false, code: 'INTERNAL' });
    expect(results[0]?.message).toContain('disk on fire');
    expect(results[1]?.message).toMatch(isVersion1 ? /^not attempted/ : /^$/);
    expect(results[1]).toMatchObject(isVersion1 ? { ok: false, code: 'CONNECTION_LOST' } : { ok: true, steps: 1 });
    await fixture.close();
    expect(hasStopped).toBe(true);
  });

  it('a source that fails in mid stream is the cause, and the sink is as it was', async () => {
    source.snapshot('a', 's1', text('1', 10_000));
    source.faults.sourceBytes = (offset) => {
      if (offset >= 5000) throw new SnapferryError('SOURCE_FAILED', 'read error at sector 7');
    };
    const [result] = await run();
    expect(result?.ok).toBe(false);
    // Version 1 has no words for it.
    if (!isVersion1) expect(`${result?.code} ${result?.message}`).toMatch(/^SOURCE_FAILED .*sector 7/);
    expect(target.list('a')).toBe('');
  });

  it('needs no more round trips for many datasets than for few', async () => {
    for (let index = 0; index < 60; index += 1) source.snapshot(`d${index}`, 's1', String(index));
    expect((await run()).filter(({ ok }) => ok).length).toBe(60);
  });

  it('plans exactly what a run then does, and planning changes nothing', async () => {
    for (const name of ['a', 'b', 'c', 'd']) for (const s of ['s1', 's2']) source.snapshot(name, s, text(s));
    await run({ select: ([name]) => name !== 'd', policy: 'all' });
    source.snapshot('a', 's3', text('3'));
    source.snapshot('b', 's3', text('3'));
    source.snapshot('b', 's4', text('4'));
    target.snapshot('b', 'own', 'mine');
    const before = [...target.datasets].map(([name]) => `${name}: ${target.list(name)}`);
    const asked = new Set<string>();
    source.faults.call = (name) => void asked.add(name);
    target.faults.call = (name) => void asked.add(name);
    const given = await options({ policy: 'all' });
    const plan = await planReplication(given);
    expect(asked).toEqual(
      new Set([
        'filesystems',
        'filesystemVersions',
        'sink.filesystemVersions',
        'sink.resumeState',
        ...(isVersion1 ? [] : ['transferEstimate']),
      ]),
    );
    expect([...target.datasets].map(([name]) => `${name}: ${target.list(name)}`)).toEqual(before);

    const events = await collect(replicate(given));
    expect(events[0]).toEqual({ kind: 'planned', plan });
    const done = events.flatMap((event) => (event.kind === 'stepDone' ? [event.step] : []));
    const planned = plan.filesystems.flatMap(({ plan: one }) => (one.kind === 'steps' ? one.steps : []));
    expect(done).toEqual(planned);
    expect(plan.filesystems.map(({ plan: one }) => one.kind)).toEqual(['steps', 'conflict', 'in_sync', 'steps']);
    if (!isVersion1) {
      const bytes = events.flatMap((event) => (event.kind === 'stepDone' ? [event.bytes] : []));
      expect(bytes).toEqual(planned.map(({ estimatedBytes }) => estimatedBytes));
      expect(plan.estimatedBytes).toBe(bytes.reduce((sum, count) => sum + count, 0));
    }
  });
});
