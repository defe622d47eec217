import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ConfigurationError } from '../../src/config/configuration-error.ts';
import { loadConfiguration, readConfiguration } from '../../src/config/load-configuration.ts';

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'snapferry-config-'))));
afterEach(() => rmSync(folder, { recursive: true }));

const put = (files: Record<string, string>) => {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return join(folder, Object.keys(files)[0]!);
};
const problems = (read: () => unknown): readonly string[] => {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    return (error as ConfigurationError).problems.map((problem) => problem.replaceAll(`${folder}/`, ''));
  }
  throw new Error('it was accepted');
};
const snap = (name: string, tree = name) =>
  `- { type: snap, name: ${name}, filesystems: { "${tree}<": true }, snapshotting: { type: manual } }`;

describe('a job with nothing but what it needs', () => {
  const read = (job: string) => readConfiguration(`jobs:\n  - ${job}`, 'c.yml').jobs[0]!;

  test('has every default', () => {
    const job = read(
      '{ type: local, name: copy, filesystems: { "tank<": true }, root_fs: second/copy, snapshotting: { type: periodic, prefix: s_, interval: 1h30m } }',
    );
    expect(job).toEqual({
      type: 'local',
      name: 'copy',
      backend: 'zfs',
      staleAfterMs: null,
      filesystems: { rules: { 'tank<': true }, filter: expect.anything() as unknown },
      snapshotting: {
        type: 'periodic',
        intervalMs: 5_400_000,
        prefix: 's_',
        timestamp: { format: 'dense', location: 'UTC' },
        hooks: [],
      },
      exclude: [],
      snapshotFolder: null,
      send: {
        encrypted: null,
        raw: false,
        sendProperties: false,
        largeBlocks: false,
        compressed: false,
        embeddedData: false,
        bandwidthLimit: null,
      },
      rootFs: 'second/copy',
      recv: {
        properties: { override: {}, inherit: [], fromSender: false, trusted: [] },
        placeholderEncryption: 'unspecified',
        bandwidthLimit: null,
      },
      schedule: { type: 'manual' },
      replication: {
        protection: { initial: 'resumability', incremental: 'resumability' },
        concurrency: { steps: 1, sizeEstimates: 4 },
        retry: { attemptsMax: 6, waitMsMin: 1000, waitMsMax: 60_000 },
        stallMsMax: 1_800_000,
        snapshotPrefix: null,
      },
      initialReplication: 'most_recent',
      pruning: { sender: null, receiver: null },
    });
  });

  test('of a directory is named by the components of its path, and asked so', () => {
    const job = read(
      '{ type: snap, name: x, backend: directory, filesystems: { /srv/data: true }, snapshotting: { type: manual } }',
    );
    if (job.type !== 'snap') throw new Error('no snap');
    expect(job.filesystems.rules).toEqual({ 'srv/data': true });
    expect(job.filesystems.filter.matches(['srv', 'data'])).toBe(true);
    expect(job.filesystems.filter.matches(['srv', 'data', 'x'])).toBe(false);
  });

  test.each([
    ['interval: 10m', { type: 'interval', intervalMs: 600_000 }],
    ['interval: manual', { type: 'manual' }],
    ['cron: "15 3 * * *"', { type: 'cron', cron: '15 3 * * *' }],
    ['cron: "0 15 3 * * 1-5"', { type: 'cron', cron: '0 15 3 * * 1-5' }],
  ])('runs by %s', (schedule, expected) => {
    const job = read(`{ type: pull, name: x, connect: { type: unix, path: /s }, root_fs: a/b, ${schedule} }`);
    expect(job).toMatchObject({ schedule: expected, filesystems: { rules: { '<': true } } });
  });

  test.each([
    ['":8888"', { host: null, port: 8888 }],
    ['"192.0.2.1:8888"', { host: '192.0.2.1', port: 8888 }],
    ['"[fd00::1]:8888"', { host: 'fd00::1', port: 8888 }],
    ['systemd:backup.socket', { socketName: 'backup.socket' }],
  ])('listens at %s', (listen, expected) => {
    const job = read(
      `{ type: sink, name: x, root_fs: a, serve: { type: tcp, listen: ${listen}, clients: { "10.0.0.0/8": lan } } }`,
    );
    expect(job).toMatchObject({ serve: { listen: expected, clients: { '10.0.0.0/8': 'lan' } } });
  });
});

test('global has every default', () => {
  expect(readConfiguration('', 'c.yml').global).toEqual({
    logging: { level: 'info', format: 'human', time: null, color: null },
    monitoring: null,
    control: { sockpath: '/run/snapferry/control' },
    serve: { stdinserverSockdir: '/run/snapferry/stdinserver' },
    stateDir: '/var/lib/snapferry',
    shutdownMsMax: 60_000,
    notifications: [],
    tools: { zfs: ['zfs'], btrfs: ['btrfs'] },
  });
});

test('notifications have their defaults', () => {
  const text = `
global:
  notifications:
    - { type: mail, server: { host: mx, security: starttls }, from: Backup <b@example.com>, to: [a@example.com] }
    - { type: webhook, url: "https://example.com/hook", on: [failure], repeat_after: 1h }
    - { type: command, command: [/bin/tell, x] }
`;
  const common = { on: ['failure', 'recovery', 'stale'], jobs: null, repeatMsMin: 86_400_000, timeoutMs: 30_000 };
  expect(readConfiguration(text, 'c.yml').global.notifications).toEqual([
    {
      type: 'mail',
      server: { host: 'mx', port: 587, security: 'starttls', user: null, passwordFile: null },
      from: 'Backup <b@example.com>',
      to: ['a@example.com'],
      ...common,
    },
    {
      type: 'webhook',
      url: 'https://example.com/hook',
      urlFile: null,
      headers: {},
      bearerTokenFile: null,
      ...common,
      on: ['failure'],
      repeatMsMin: 3_600_000,
    },
    { type: 'command', argv: ['/bin/tell', 'x'], ...common },
  ]);
});

describe('include', () => {
  test('takes a file, a folder and a pattern, relative to the file that names them, in order', () => {
    const file = put({
      'main.yml': `include: [one.yml, folder, "more/b*.yml"]\njobs:\n${snap('main')}`,
      'one.yml': `jobs:\n${snap('one')}`,
      'folder/z.yml': `jobs:\n${snap('z')}`,
      'folder/a.yml': `jobs:\n${snap('a')}\ninclude: [deeper/d.yml]`,
      'folder/deeper/d.yml': `jobs:\n${snap('d')}`,
      'folder/ignored.yaml': 'not: read',
      'folder/.hidden.yml': 'not: read',
      'more/b1.yml': `jobs:\n${snap('b1')}`,
      'more/c1.yml': 'not: read',
      'more/empty.yml': '',
    });
    const { jobs, files } = loadConfiguration(file);
    expect(jobs.map(({ name }) => name)).toEqual(['main', 'one', 'a', 'd', 'z', 'b1']);
    expect(files.map((name) => name.slice(folder.length + 1))).toEqual([
      'main.yml',
      'one.yml',
      'folder/a.yml',
      'folder/deeper/d.yml',
      'folder/z.yml',
      'more/b1.yml',
    ]);
  });

  test('refuses a circle and shows it', () => {
    const file = put({ 'a.yml': 'include: [b.yml]', 'b.yml': 'include: [c.yml]', 'c.yml': 'include: [a.yml]' });
    expect(problems(() => loadConfiguration(file))).toEqual([
      'c.yml:1:11: include.0: goes round in a circle: a.yml includes b.yml includes c.yml includes a.yml\n  1 | include: [a.yml]\n    |           ^',
    ]);
  });

  test('refuses a file that is included twice, one that is not there, and a global section in it', () => {
    const file = put({
      'main.yml': 'include: [a.yml, a.yml, nowhere.yml, "no*/x.yml"]',
      'a.yml': 'global: {}',
    });
    expect(problems(() => loadConfiguration(file)).map((problem) => problem.split('\n')[0])).toEqual([
      'a.yml:1:1: unknown key "global"; known here: jobs, include',
      'main.yml:1:18: include.1: a.yml is already included',
      'main.yml:1:25: include.2: cannot include nowhere.yml: it does not exist',
      'main.yml:1:38: include.3: "no*/x.yml" has a pattern that is not in its last part',
    ]);
  });

  test('tells the mistakes of every file, and what is wrong between them, at once', () => {
    const file = put({
      'main.yml': `include: [a.yml, b.yml]\njobs:\n${snap('same')}\n- type: snap`,
      'a.yml': `jobs:\n${snap('same', 'other')}`,
      'b.yml': 'jobs: [',
    });
    expect(problems(() => loadConfiguration(file)).map((problem) => problem.split('\n')[0])).toEqual([
      'main.yml:4:3: jobs.1.name: missing: expected a name',
      expect.stringMatching(/^main.yml:4:3: jobs.1.filesystems: missing: expected patterns/),
      expect.stringMatching(/^main.yml:4:3: jobs.1.snapshotting: missing/),
      expect.stringMatching(/^b.yml:1:8: Flow sequence/),
      'a.yml:2:23: jobs.0.name: the name "same" is already taken at main.yml:3:23; it has to be another one',
    ]);
  });
});

test('a file that is not there is named', () => {
  expect(problems(() => loadConfiguration(join(folder, 'none.yml')))[0]).toMatch(
    /^cannot read the configuration none.yml: .*; create it, or name another one with --config$/,
  );
});
