import { describe, expect, test } from 'vitest';
import { readConfiguration } from '../../src/config/load-configuration.ts';

const warningsOf = (text: string) => readConfiguration(text, 'c.yml').warnings;
const codes = (...jobs: string[]) =>
  warningsOf(`jobs:\n${jobs.map((job) => `- ${job}`).join('\n')}`).map(({ code }) => code);

const tank = 'filesystems: { "tank<": true }';
const manual = 'snapshotting: { type: manual }';
const periodic = 'snapshotting: { type: periodic, interval: 1h, prefix: s_ }';
const keepAll = '{ type: regex, regex: ".*" }';
const unreplicated = '{ type: not_replicated }';
const last = (regex?: string) => `{ type: last_n, count: 5${regex === undefined ? '' : `, regex: "${regex}"`} }`;
const snap = (rest: string, name = 'snap') => `{ type: snap, name: ${name}, ${rest} }`;
const push = (rest: string, name = 'push') =>
  `{ type: push, name: ${name}, connect: { type: unix, path: /s }, interval: 1h, ${rest} }`;
const pull = (rest: string, name = 'pull') =>
  `{ type: pull, name: ${name}, connect: { type: unix, path: /s }, interval: 1h, ${rest} }`;
const sink = (name: string, identity: string, rest: string) =>
  `{ type: sink, name: ${name}, serve: { type: stdinserver, client_identities: [${identity}] }, pruning: { keep: [${keepAll}] }, ${rest} }`;

test('nothing to do', () => {
  expect(warningsOf('')).toEqual([
    {
      code: 'no_jobs',
      job: null,
      message: 'there are no jobs, so there is nothing to do',
      text: expect.any(String) as string,
    },
  ]);
});

test('a warning says where', () => {
  const [warning] = warningsOf(`jobs:\n  - ${snap(`${tank}, ${periodic}`)}`);
  expect(warning).toMatchObject({ code: 'no_pruning', job: 'snap' });
  expect(warning?.text).toMatch(
    /^c.yml:2:5: jobs.0.pruning: nothing ever removes the snapshots it takes; .*\n {2}2 \| .*\n {4}\| {5}\^$/,
  );
});

describe('no_pruning', () => {
  test.each<[string, string, string[]]>([
    ['takes and never removes', snap(`${tank}, ${periodic}`), ['no_pruning']],
    ['takes none', snap(`${tank}, ${manual}`), []],
    ['removes the old', snap(`${tank}, ${periodic}, pruning: { keep: [${last()}] }`), []],
    ['removes its own', snap(`${tank}, ${periodic}, pruning: { keep: [${last('^s_')}] }`), []],
    [
      'has a rule for others only',
      snap(`${tank}, ${periodic}, pruning: { keep: [${last('^zrepl_')}] }`),
      ['no_pruning'],
    ],
    ['lets others go', snap(`${tank}, ${periodic}, pruning: { keep: [${last('^zrepl_')}], others: destroy }`), []],
    [
      'has only a floor',
      snap(`${tank}, ${periodic}, pruning: { keep: [{ type: keep_for, age: 1d }] }`),
      ['no_pruning'],
    ],
    ['keeps all and says so', snap(`${tank}, ${periodic}, pruning: { keep: [${keepAll}] }`), []],
    ['stores and never removes', pull('root_fs: a'), ['no_pruning']],
    [
      'stores, with only a floor',
      pull('root_fs: a, pruning: { keep_receiver: [{ type: keep_for, age: 1d }] }'),
      ['no_pruning'],
    ],
    ['stores and removes', pull(`root_fs: a, pruning: { keep_receiver: [${last()}] }`), []],
    ['stores, keeps all and says so', pull(`root_fs: a, pruning: { keep_receiver: [${keepAll}] }`), []],
  ])('a job that %s', (_what, job, expected) => expect(codes(job)).toEqual(expected));
});

describe('what a sender may remove too early', () => {
  const nothing = 'replication: { protection: { initial: guarantee_resumability, incremental: guarantee_nothing } }';
  test.each<[string, string[], string[]]>([
    [
      'without not_replicated',
      [push(`${tank}, ${periodic}, pruning: { keep_sender: [${last()}] }`)],
      ['prunes_unreplicated'],
    ],
    ['with it', [push(`${tank}, ${periodic}, pruning: { keep_sender: [${last()}, ${unreplicated}] }`)], []],
    [
      'without it, and nothing protected',
      [push(`${tank}, ${periodic}, ${nothing}, pruning: { keep_sender: [${last()}] }`)],
      ['prunes_unreplicated', 'prunes_last_common'],
    ],
    [
      'by another job, and nothing protected',
      [snap(`${tank}, ${periodic}, pruning: { keep: [${last()}] }`), push(`${tank}, ${manual}, ${nothing}`)],
      ['prunes_last_common'],
    ],
    [
      'by another job, and a bookmark is left',
      [snap(`${tank}, ${periodic}, pruning: { keep: [${last()}] }`), push(`${tank}, ${manual}`)],
      [],
    ],
    [
      'by another job, of other datasets',
      [
        snap(`filesystems: { "other<": true }, ${periodic}, pruning: { keep: [${last()}] }`),
        push(`${tank}, ${manual}, ${nothing}`),
      ],
      [],
    ],
  ])('%s', (_what, jobs, expected) => expect(codes(...jobs)).toEqual(expected));
});

describe('pruned_twice', () => {
  const pruned = (filesystems: string, name: string) =>
    snap(`filesystems: ${filesystems}, ${manual}, pruning: { keep: [${last()}] }`, name);
  test.each<[string, string, boolean]>([
    ['{ "tank<": true }', '{ "tank<": true }', true],
    ['{ "tank<": true }', '{ "tank/home": true }', true],
    ['{ "<": true }', '{ "tank/home<": true }', true],
    ['{ "<": true }', '{ "<": true }', true],
    ['{ "tank<": true, "tank": false }', '{ "tank<": true }', true],
    ['{ "tank<": true, "tank/home<": false }', '{ "tank/home<": true }', false],
    ['{ "tank": true }', '{ "tank<": true, "tank": false }', false],
    ['{ "tank<": true }', '{ "tankard<": true }', false],
  ])('%s and %s', (one, other, isTwice) => {
    expect(codes(pruned(one, 'one'), pruned(other, 'other'))).toEqual(isTwice ? ['pruned_twice'] : []);
    expect(codes(pruned(other, 'other'), pruned(one, 'one'))).toEqual(isTwice ? ['pruned_twice'] : []);
  });

  test("a job that keeps all is in nobody's way", () => {
    expect(
      codes(pruned('{ "<": true }', 'one'), push(`${tank}, ${manual}, pruning: { keep_sender: [${keepAll}] }`)),
    ).toEqual([]);
  });
});

describe('shared_target', () => {
  const stored = (root: string, name: string) =>
    pull(`root_fs: ${root}, pruning: { keep_receiver: [${keepAll}] }`, name);
  test.each<[string, string[], boolean]>([
    ['two pulls into one place', [stored('a/b', 'one'), stored('a/b', 'other')], true],
    ['one below the other', [stored('a', 'one'), stored('a/b', 'other')], true],
    ['beside each other', [stored('a/b', 'one'), stored('a/bc', 'other')], false],
    ['two sinks with other clients', [sink('one', 'a, b', 'root_fs: x'), sink('other', 'c', 'root_fs: x')], false],
    ['a sink below a sink', [sink('one', 'a', 'root_fs: x'), sink('other', 'b', 'root_fs: x/a')], true],
    [
      'two pushes of the same to one place',
      [push(`${tank}, ${manual}`, 'one'), push(`${tank}, ${manual}`, 'other')],
      true,
    ],
    [
      'two pushes of different things',
      [push(`${tank}, ${manual}`, 'one'), push(`filesystems: { "x<": true }, ${manual}`, 'other')],
      false,
    ],
  ])('%s', (_what, jobs, isShared) => expect(codes(...jobs)).toEqual(isShared ? ['shared_target'] : []));
});

test.each<[string, string, string[]]>([
  [
    'snapshots of copies',
    snap(`filesystems: { "<": true }, ${periodic}, pruning: { keep: [${keepAll}] }`),
    ['sink_in_source'],
  ],
  [
    'snapshots of others',
    snap(`filesystems: { "<": true, "vault<": false }, ${periodic}, pruning: { keep: [${keepAll}] }`),
    [],
  ],
  ['copies passed on as they are', push(`filesystems: { "vault<": true }, ${manual}`), []],
])('sink_in_source: %s', (_what, job, expected) => {
  expect(codes(job, sink('one', 'a', 'root_fs: vault'))).toEqual(expected);
  expect(codes(sink('one', 'a', 'root_fs: vault'), job)).toEqual(expected);
});

test('never_runs: only if it is not said', () => {
  const job = (rest: string) => `{ type: push, name: x, connect: { type: unix, path: /s }, ${tank}, ${rest} }`;
  expect(codes(job(manual))).toEqual(['never_runs']);
  expect(codes(job(`${manual}, interval: manual`))).toEqual([]);
  expect(codes(job(`${periodic}, pruning: { keep_sender: [${keepAll}] }`))).toEqual([]);
});

test('never_stale: only if somebody is told of what is stale', () => {
  const told = (on: string, rest = '') => {
    const job = pull(`root_fs: a, pruning: { keep_receiver: [${keepAll}] }${rest}`);
    const global = `global: { notifications: [{ type: command, command: [a], on: [${on}] }] }`;
    return warningsOf(`${global}\njobs:\n- ${job}`).map(({ code }) => code);
  };
  expect(told('failure')).toEqual([]);
  expect(told('failure, stale')).toEqual(['never_stale']);
  expect(told('failure, stale', ', stale_after: 1d')).toEqual([]);
});
