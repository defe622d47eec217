import { describe, expect, test } from 'vitest';
import { ConfigurationError } from '../../src/config/configuration-error.ts';
import { readConfiguration } from '../../src/config/load-configuration.ts';

const problems = (text: string): readonly string[] => {
  try {
    readConfiguration(text, 'c.yml');
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    return (error as ConfigurationError).problems;
  }
  throw new Error('it was accepted');
};

const manual = 'snapshotting: { type: manual }';
const tank = 'filesystems: { "tank<": true }';
const unix = 'connect: { type: unix, path: /run/s }';
/** A job of a kind in which one thing can be said differently. */
const job = {
  pull: (rest: string) => `jobs:\n- { type: pull, name: x, ${unix}, root_fs: a/b, interval: 1h, ${rest} }`,
  push: (rest: string) => `jobs:\n- { type: push, name: x, ${unix}, ${tank}, ${manual}, ${rest} }`,
  sink: (rest: string) =>
    `jobs:\n- { type: sink, name: x, serve: { type: stdinserver, client_identities: [c] }, root_fs: a/b, ${rest} }`,
  snap: (rest: string) => `jobs:\n- { type: snap, name: x, ${tank}, ${manual}, ${rest} }`,
  local: (rest: string) => `jobs:\n- { type: local, name: x, ${tank}, ${manual}, root_fs: second, ${rest} }`,
  serving: (serve: string) => `jobs:\n- { type: sink, name: x, root_fs: a/b, serve: ${serve} }`,
  connecting: (connect: string) =>
    `jobs:\n- { type: push, name: x, ${tank}, ${manual}, interval: manual, connect: ${connect} }`,
  snapshotting: (how: string) => `jobs:\n- { type: snap, name: x, ${tank}, snapshotting: ${how} }`,
  meaning: (filesystems: string, rest = '') =>
    `jobs:\n- { type: snap, name: x, ${manual}, filesystems: ${filesystems}${rest} }`,
};

test('every mistake is told at once, in the order of the file, with its place, the line and a mark', () => {
  const text = `global:
  loging: []
jobs:
  - name: one
    type: pull
    conect: { type: unix, path: /run/s }
    root_fs: /tank
    interval: 10
    pruning:
      keep_receiver: [{ type: last_n, count: ten }]
`;
  expect(problems(text)).toEqual([
    'c.yml:2:3: unknown key "loging"; did you mean "logging"?\n  2 |   loging: []\n    |   ^',
    'c.yml:6:5: unknown key "conect"; did you mean "connect"?\n  6 |     conect: { type: unix, path: /run/s }\n    |     ^',
    'c.yml:7:14: jobs.0.root_fs: "/tank" begins with a slash; it names a ZFS dataset, e.g. tank\n  7 |     root_fs: /tank\n    |              ^',
    'c.yml:8:15: jobs.0.interval: expected a duration such as "10m", or manual, found 10\n  8 |     interval: 10\n    |               ^',
    'c.yml:10:46: jobs.0.pruning.keep_receiver.0.count: expected a whole number from 1 to 1000000, found "ten"\n  10 |       keep_receiver: [{ type: last_n, count: ten }]\n     |                                              ^',
  ]);
});

describe('what is refused, and with which words', () => {
  test.each<[what: string, text: string, words: string]>([
    ['no mapping', '- a', 'expected a mapping with jobs, found a list'],
    ['jobs that are none', 'jobs: pull', 'jobs: expected a list of jobs, found "pull"'],
    ['jobs left empty', 'jobs:', 'jobs: expected a list of jobs, found nothing'],
    ['a key twice', 'jobs: []\njobs: []', 'Map keys must be unique'],
    ['what contains itself', 'jobs: &a [*a]', 'c.yml:1:1: an alias (*) stands inside of its own anchor (&)'],
    ['too many levels', '['.repeat(100_000), 'c.yml: is nested too deeply to be read'],
    ['too many lists on a line', '- '.repeat(1000), 'c.yml: is nested too deeply to be read'],
    [
      'too many mappings',
      Array.from({ length: 1000 }, (_, level) => `${' '.repeat(level)}a:`).join('\n'),
      'is nested too deeply',
    ],
    ['too many aliases', `a: &a [${'x,'.repeat(50)}]\nb: [${'*a,'.repeat(200)}]`, 'Excessive alias count'],
    ['tabs', 'jobs:\n\t- a', 'Tabs are not allowed'],
    ['no type', 'jobs: [{ name: x }]', 'jobs.0.type: missing: expected one of "pull", "push"'],
    ['a misspelt type', 'jobs: [{ type: pul }]', 'found "pul"; did you mean "pull"?'],
    ['no name', `jobs: [{ type: snap, ${tank}, ${manual} }]`, 'jobs.0.name: missing: expected a name'],
    ['a name with a blank', job.snap('name: "a b"').replace('name: x, ', ''), 'a job is named with letters'],
    ['a name that begins with "_"', job.snap('name: _a').replace('name: x, ', ''), 'a job is named with letters'],
    ['an unknown backend', job.snap('backend: zfz'), 'found "zfz"; did you mean "zfs"?'],
    ['a key of another type of job', job.snap('root_fs: a'), 'unknown key "root_fs"; known here: type, name'],
    ['a month that could be minutes', job.pull('stale_after: 1M'), 'could be minutes or months'],
    ['interval and cron', job.pull('cron: "* * * * *"'), 'cron: and interval exclude each other'],
    ['neither interval nor cron', job.pull('').replace('interval: 1h, ', ''), 'interval: missing: expected a duration'],
    ['a cron that never comes due', job.push('cron: "0 0 31 2 *"'), 'never comes due'],
    ['a cron of four fields', job.push('cron: "0 0 * *"'), 'has 4 fields; expected minute, hour'],
    ['a cron out of range', job.push('cron: "0 25 * * *"'), 'is no line of cron: '],
    ['a nickname of cron', job.push('cron: "@daily"'), 'has 1 fields'],
    ['a pattern with "<" inside', job.meaning('{ "a<b": true }'), 'the pattern "a<b" has a "<" that is not at its end'],
    ['a pattern that is no boolean', job.meaning('{ "a<": 1 }'), 'expected true (meant) or false (left out), found 1'],
    ['a filter that means nothing', job.meaning('{ "a<": false }'), 'means no dataset at all'],
    ['an empty filter', job.meaning('{}'), 'means no dataset at all'],
    ['a list as a filter', job.meaning('[tank]'), 'expected patterns, e.g.'],
    ['a snapshot as a dataset', job.meaning('{ "tank@x": true }'), 'cannot be part of the name of a ZFS dataset'],
    ['a directory for ZFS', job.meaning('{ /tank: true }'), 'begins with a slash'],
    ['".." in a directory', job.meaning('{ /a/../b: true }', ', backend: btrfs'), 'has the component ".."'],
    ['a relative directory', job.meaning('{ a: true }', ', backend: directory'), 'must be the absolute path'],
    ['directories below one', job.meaning('{ /a<: true }', ', backend: directory'), 'name them one by one'],
    ['ZFS options elsewhere', job.push('backend: btrfs, send: { raw: true }'), 'only for the backend "zfs"'],
    ['properties elsewhere', job.sink('backend: btrfs, recv: { properties: {} }'), 'only for the backend "zfs"'],
    ['exclude of ZFS', job.snap('exclude: ["*.tmp"]'), 'only for the backend "directory"'],
    ['a snapshot folder of ZFS', job.snap('snapshot_folder: .s'), 'only for the backend "btrfs"'],
    ['raw in the clear', job.push('send: { raw: true, encrypted: false }'), 'contradicts "encrypted: false"'],
    ['a property twice', job.sink('recv: { properties: { inherit: [a], override: { a: b } } }'), 'can be only one'],
    ['trust without need', job.sink('recv: { properties: { trusted: [quota] } }'), 'means nothing without'],
    [
      'a boolean property',
      job.sink('recv: { properties: { override: { a: true } } }'),
      'write words such as "on" in quotes',
    ],
    ['no rules', job.snap('pruning: { keep: [] }'), 'expected a list of at least one rule, found an empty list'],
    [
      'pruning without rules',
      job.snap('pruning: { others: destroy }'),
      'keep: missing: expected a list of at least one rule',
    ],
    ['a misspelt rule', job.snap('pruning: { keep: [{ type: gird }] }'), 'did you mean "grid"?'],
    [
      'a wrong grid',
      job.snap('pruning: { keep: [{ type: grid, grid: 1x1h | 24x }] }'),
      'column 11: expected the length',
    ],
    ['a wrong regex', job.snap('pruning: { keep: [{ type: regex, regex: "(" }] }'), '"(" without ")"'],
    ['a hostile regex', job.snap('pruning: { keep: [{ type: regex, regex: "(a*)*b" }] }'), 'in too many ways'],
    [
      'a floor without an age',
      job.sink('pruning: { keep: [{ type: keep_for }] }'),
      'age: missing: expected a duration',
    ],
    ['not_replicated of copies', job.sink('pruning: { keep: [{ type: not_replicated }] }'), 'means nothing for copies'],
    [
      'the snapshot at the cursor let go',
      job.push('pruning: { keep_sender: [{ type: not_replicated, keep_snapshot_at_cursor: false }] }'),
      'the newest that has arrived is never removed',
    ],
    [
      'what the other side keeps (push)',
      job.push('pruning: { keep_sender: [], keep_receiver: [] }'),
      'under "pruning: { keep: … }" of the sink',
    ],
    [
      'what the other side keeps (pull)',
      job.pull('pruning: { keep_sender: [], keep_receiver: [] }'),
      'under "pruning: { keep: … }" of the source',
    ],
    ['keep_receiver of a sink', job.sink('pruning: { keep_receiver: [] }'), 'here it is called "keep"'],
    [
      'no steps',
      job.push('replication: { concurrency: { steps: 0 } }'),
      'expected a whole number from 1 to 64, found 0',
    ],
    [
      'waits the wrong way round',
      job.push('replication: { retry: { wait_min: 2m } }'),
      'must not be longer than wait_max',
    ],
    [
      'unknown protection',
      job.push('replication: { protection: { initial: guarantee_everything } }'),
      'expected one of "guarantee_resumability"',
    ],
    ['a rate in bits', job.push('send: { bandwidth_limit: { max: 10 Mb } }'), 'could be bits'],
    [
      'a rate without a unit',
      job.push('send: { bandwidth_limit: { max: 10 } }'),
      'expected a size such as "10 MiB", found 10',
    ],
    [
      'copies inside what is copied',
      job.local('root_fs: tank/copy').replace('root_fs: second, ', ''),
      'which is among what is copied; leave it out: "tank/copy<": false',
    ],
    [
      'a prefix with "@"',
      job.snapshotting('{ type: periodic, interval: 1h, prefix: a@b }'),
      'no snapshot can be called so',
    ],
    ['no prefix', job.snapshotting('{ type: periodic, interval: 1h }'), 'prefix: missing'],
    [
      'local time without a zone',
      job.snapshotting('{ type: periodic, interval: 1h, prefix: a, timestamp_location: Local }'),
      'timestamp_location has to be UTC',
    ],
    [
      'an unknown zone',
      job.snapshotting('{ type: periodic, interval: 1h, prefix: a, timestamp_location: Mars }'),
      'timestamp_location "Mars" is not known',
    ],
    [
      'a relative hook',
      job.snapshotting('{ type: periodic, interval: 1h, prefix: a, hooks: [{ type: command, path: x }] }'),
      'must be absolute',
    ],
    [
      'a hook of a database',
      job.snapshotting('{ type: periodic, interval: 1h, prefix: a, hooks: [{ type: postgres-checkpoint, dsn: x }] }'),
      'write a hook of type command',
    ],
    ['an address without a port', job.connecting('{ type: tcp, address: backup }'), 'is not of the form host:port'],
    ['an address without a host', job.connecting('{ type: tcp, address: ":1" }'), 'has no host'],
    ['a port out of range', job.connecting('{ type: tcp, address: "a:70000" }'), 'is not of the form host:port'],
    [
      'a relative certificate',
      job.connecting('{ type: tls, address: "a:1", ca: ca.pem, cert: /c, key: /k, server_cn: a }'),
      'must be absolute: begin with "/"',
    ],
    [
      'a host that is an option',
      job.connecting('{ type: ssh+stdinserver, host: "-oProxyCommand=x" }'),
      'is no host ssh could be given',
    ],
    [
      'a user that is an option',
      job.connecting('{ type: ssh+stdinserver, host: a, user: "-x" }'),
      'is no user ssh could be given',
    ],
    [
      'an ssh option that is none',
      job.connecting('{ type: ssh+stdinserver, host: a, options: ["-v"] }'),
      'must read Name=value',
    ],
    [
      'a command that is a line',
      job.connecting('{ type: command, command: "ssh host" }'),
      'expected a program and its arguments as a list',
    ],
    ['an empty command', job.connecting('{ type: command, command: [] }'), 'found an empty list'],
    [
      'a listener nobody has',
      job.connecting('{ type: local, listener_name: a, client_identity: b }'),
      'no job serves "a"',
    ],
    [
      'an identity that is a path',
      job.connecting('{ type: local, listener_name: a, client_identity: a/b }'),
      'an identity has letters',
    ],
    [
      'freebind',
      job.serving('{ type: tcp, listen: ":1", listen_freebind: true, clients: { "10.0.0.1": a } }'),
      'FreeBind=yes',
    ],
    ['no clients', job.serving('{ type: tcp, listen: ":1", clients: {} }'), 'allows nobody to connect'],
    [
      'a client that is no address',
      job.serving('{ type: tcp, listen: ":1", clients: { web1: a } }'),
      'neither an address nor a network',
    ],
    [
      'a network that is too narrow',
      job.serving('{ type: tcp, listen: ":1", clients: { "10.0.0.0/33": a } }'),
      'neither an address nor a network',
    ],
    [
      'an identity for each address that could be a path',
      job.serving('{ type: tcp, listen: ":1", clients: { "10.0.0.0/8": "lan/*" } }'),
      'an identity has letters',
    ],
    [
      'the identity "local"',
      job.serving('{ type: stdinserver, client_identities: [local] }'),
      '"local" is no identity of a peer',
    ],
    [
      'a relative socket',
      job.serving('{ type: unix, path: s, client_identity: a }'),
      'must be an absolute path, or systemd:NAME',
    ],
    ['an outlet that is none', 'global: { logging: [{ type: syslog }] }', 'expected "stderr", found "syslog"'],
    ['two outlets', 'global: { logging: [{}, {}] }', 'expected a list of one outlet'],
    [
      'a mail address that is none',
      'global: { notifications: [{ type: mail, server: { host: a }, from: me, to: [b@c] }] }',
      'must be a mail address',
    ],
    [
      'half a login',
      'global: { notifications: [{ type: mail, server: { host: a, user: b }, from: a@b, to: [b@c] }] }',
      'user and password_file belong together',
    ],
    ['a webhook to nowhere', 'global: { notifications: [{ type: webhook }] }', 'needs either url or url_file'],
    [
      'a webhook by ftp',
      'global: { notifications: [{ type: webhook, url: "ftp://a/b" }] }',
      'expected an address beginning with https://',
    ],
    [
      'a notification of no job',
      `global: { notifications: [{ type: command, command: [a], jobs: [pul] }] }\n${job.pull('').replace('name: x', 'name: pull')}`,
      'there is no job "pul"; did you mean "pull"?',
    ],
  ])('%s', (_what, text, words) => expect(problems(text).join('\n')).toContain(words));
});

describe('between jobs', () => {
  const sink = (name: string, serve: string, more = '') =>
    `{ type: sink, name: ${name}, root_fs: ${name}, serve: ${serve}${more} }`;
  const push = (listener: string) =>
    `{ type: push, name: p, ${tank}, ${manual}, interval: manual, connect: { type: local, listener_name: ${listener}, client_identity: me } }`;

  test.each<[what: string, jobs: string[], words: string]>([
    [
      'an address',
      [
        sink('a', '{ type: tcp, listen: ":1", clients: { "10.0.0.1": a } }'),
        sink('b', '{ type: tcp, listen: ":1", clients: { "10.0.0.1": a } }'),
      ],
      'the address ":1" is already taken at c.yml:2:',
    ],
    [
      'an identity of stdinserver',
      [
        sink('a', '{ type: stdinserver, client_identities: [c] }'),
        sink('b', '{ type: stdinserver, client_identities: [d, c] }'),
      ],
      'jobs.1.serve.client_identities.1: the identity "c" is already taken',
    ],
    [
      'a name for local',
      [sink('a', '{ type: local, listener_name: l }'), sink('b', '{ type: local, listener_name: l }')],
      'the name "l" is already taken',
    ],
    [
      'a socket',
      [
        sink('a', '{ type: unix, path: /s, client_identity: a }'),
        sink('b', '{ type: unix, path: /s, client_identity: a }'),
      ],
      'the socket "/s" is already taken',
    ],
  ])('%s can be had once', (_what, jobs, words) => {
    expect(problems(`jobs:\n${jobs.map((each) => `- ${each}`).join('\n')}`).join('\n')).toContain(words);
  });

  test('a misspelt listener is named', () => {
    expect(problems(`jobs:\n- ${push('disc')}\n- ${sink('a', '{ type: local, listener_name: disk }')}`)[0]).toContain(
      'no job serves "disc"; did you mean "disk"?',
    );
  });

  test('a push needs a sink of its own backend', () => {
    const source = `{ type: source, name: s, ${tank}, ${manual}, serve: { type: local, listener_name: l } }`;
    expect(problems(`jobs:\n- ${push('l')}\n- ${source}`)[0]).toContain('is the source "s"; a push needs a sink');
    const other = `{ type: sink, name: s, backend: btrfs, root_fs: /s, serve: { type: local, listener_name: l } }`;
    expect(problems(`jobs:\n- ${push('l')}\n- ${other}`)[0]).toContain('both sides need the same');
  });

  test('a push into what it pushes is refused', () => {
    const inside = `{ type: sink, name: s, root_fs: tank/sink, serve: { type: local, listener_name: l } }`;
    expect(problems(`jobs:\n- ${push('l')}\n- ${inside}`)[0]).toContain('which is among what is copied');
  });
});
