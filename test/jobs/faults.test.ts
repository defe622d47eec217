import { readdirSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import type { RunResult } from '../../src/jobs/run-result.ts';
import { childrenAlive } from '../support/directory-fixture.ts';
import { randomFrom } from '../support/random.ts';
import type { Random } from '../support/random.ts';
import { repetitions } from '../support/repetitions.ts';
import { testSeed } from '../support/scripted-peer.ts';
import { JobFixture } from './job-fixture.ts';

let fixture: JobFixture;
afterEach(() => fixture.cleanup());

const hour = 3_600_000;
const seed = testSeed % 1_000_000;
const rounds = repetitions(8, 2);

const pull = `
  - name: far
    type: source
    backend: directory
    serve: { type: local, listener_name: far }
    filesystems: { ROOT/one: true, ROOT/two: true }
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    pruning: { keep: [{ type: not_replicated }, { type: last_n, count: 1 }] }
  - name: active
    type: pull
    backend: directory
    connect: { type: local, listener_name: far, client_identity: vault }
    root_fs: ROOT/copies
    interval: 1h
    replication: { retry: { attempts: 2 }, concurrency: { steps: 2 } }
    pruning: { keep_receiver: [{ type: last_n, count: 2 }] }
`;

const push = `
  - name: far
    type: sink
    backend: directory
    serve: { type: local, listener_name: far }
    root_fs: ROOT/vault
    pruning: { keep: [{ type: last_n, count: 2 }] }
  - name: active
    type: push
    backend: directory
    connect: { type: local, listener_name: far, client_identity: web1 }
    filesystems: { ROOT/one: true, ROOT/two: true }
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    replication: { retry: { attempts: 2 }, concurrency: { steps: 2 } }
    pruning: { keep_sender: [{ type: not_replicated }, { type: last_n, count: 1 }] }
`;

/** Some content that grows and changes. */
function change(random: Random): void {
  for (const name of ['one', 'two']) {
    const count = 1 + random.below(4);
    for (let index = 0; index < count; index++) {
      const bytes = Buffer.alloc(1 + random.below(60_000), random.below(256));
      fixture.write(`${name}/file${random.below(8)}`, bytes);
    }
  }
}

/** The newest snapshots of both sides, by name. */
function newest(target: string, name: string): readonly [string | undefined, string | undefined] {
  return [fixture.taken(name).at(-1), fixture.stored(fixture.below(target, name)).at(-1)];
}

describe.each([
  ['pull', pull, 'copies'],
  ['push', push, 'vault/web1'],
])('a %s over a line that is cut, falls silent and is stopped at random', (type, jobs, target) => {
  test(`never says that all is well when it is not, and ends well on a sound line (seed ${seed})`, async () => {
    const random = randomFrom(seed);
    fixture = new JobFixture(jobs);
    change(random);
    await fixture.serve('far');
    const outcomes: Record<RunResult['outcome'], number> = { ok: 0, failed: 0, cancelled: 0 };
    for (let round = 0; round < rounds; round++) {
      fixture.clock.jump(hour);
      change(random);
      if (type === 'pull') expect((await fixture.run('far')).outcome).toBe('ok');
      const controller = new AbortController();
      const stop = { callAfterBytes: random.below(100_000), call: () => controller.abort() };
      for (let connection = 0; connection < 4; connection++) {
        const cut = { cutAfterBytes: random.chance(0.3) ? random.below(600) : random.below(80_000) };
        fixture.listeners.faults.push(random.pick([cut, cut, stop, undefined]));
      }
      const result = await fixture.run('active', 'wakeup', controller.signal);
      fixture.listeners.faults.length = 0;
      outcomes[result.outcome] += 1;
      for (const { dataset, error } of result.datasets.filter((one) => one.error === null && result.error === null)) {
        const name = dataset.slice(-3);
        const [sent, arrived] = newest(target, name);
        expect([error, arrived], `${name} in round ${round}`).toEqual([null, sent]);
      }
    }
    fixture.clock.jump(hour);
    const last = await fixture.run('active');
    expect(last, JSON.stringify({ outcomes, last })).toMatchObject({ outcome: 'ok' });
    for (const name of ['one', 'two']) {
      const [sent, arrived] = newest(target, name);
      expect(arrived).toBe(sent);
    }
    expect(outcomes.ok + outcomes.failed + outcomes.cancelled).toBe(rounds);
    await fixture.stop();
    // Nothing is left behind: no wait, no turn, no lock, no child.
    expect(fixture.clock.waiting).toBe(0);
    for (const name of ['one', 'two']) {
      const path = fixture.path(name).slice(1).split('/');
      expect(fixture.listeners.turns.tryChange('directory', path)).not.toBeNull();
    }
    expect(readdirSync(fixture.path('state/locks')).length).toBeGreaterThan(0);
    expect(childrenAlive()).toEqual([]);
  });
});
