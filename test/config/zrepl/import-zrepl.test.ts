import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigurationError } from '../../../src/config/configuration-error.ts';
import type { Job } from '../../../src/config/job.ts';
import { importZrepl } from '../../../src/config/zrepl/import-zrepl.ts';

const folder = join(import.meta.dirname, '../../fixtures/zrepl');
const imported = (name: string) => importZrepl(join(folder, name));
const ofText = (text: string) => importZrepl('/etc/zrepl/zrepl.yml', () => text);
const dropped = (name: string) =>
  imported(name)
    .notes.filter(({ kind }) => kind === 'dropped')
    .map(({ text }) => text.slice(folder.length + 1).split('\n')[0]);
const job = <Type extends Job['type']>(name: string, type: Type) => {
  const found = imported(name).configuration.jobs.find((each) => each.type === type);
  return found as Extract<Job, { type: Type }>;
};

/** What each sample loses, as the note begins; nothing where all is taken over. */
const lost: Record<string, string[]> = {
  'bandwidth.yml': [],
  'empty.yml': [],
  'external-disk.yml': [],
  'fan-out.source.yml': [],
  'fan-out.target.yml': [],
  'global.yml': [
    'global.yml:7:7: there is no outlet of type syslog',
    'global.yml:11:7: there is no outlet of type tcp',
    'global.yml:5:7: there is no format logfmt',
    'global.yml:19:7: listen_freebind has no counterpart',
  ],
  'hooks.yml': ['hooks.yml:15:7: hook of type postgres-checkpoint', 'hooks.yml:18:7: hook of type mysql-lock-tables'],
  'include-file.yml': [],
  'include-folder.yml': [],
  'local.yml': [],
  'pull-ssh.yml': [],
  'pull-tls.yml': [
    'pull-tls.yml:15:7: nothing is removed over a connection: the source job on the other machine has to have pruning: { keep: [',
  ],
  'push-tcp.yml': [
    'push-tcp.yml:20:7: nothing is removed over a connection: the sink job on the other machine has to have pruning: { keep: [',
  ],
  'server-to-vault.receiver.yml': [],
  'server-to-vault.sender.yml': ['server-to-vault.sender.yml:30:5: nothing is removed over a connection: the sink job'],
  'sink-tcp-networks.yml': [],
  'sink-tls.yml': ['sink-tls.yml:8:7: listen_freebind has no counterpart'],
  'snap-cron.yml': [],
  'snap.yml': [],
  'source-ssh.yml': ['source-ssh.yml:16:5: backup_properties', 'source-ssh.yml:20:5: saved'],
  'source-tcp.yml': [],
};

describe('the samples', () => {
  const names = readdirSync(folder).filter((name) => name.endsWith('.yml'));

  test('are all spoken of here', () => expect(names.sort()).toEqual(Object.keys(lost).sort()));

  test.each(names)('%s is taken over, but for what is named', (name) => {
    const found = dropped(name);
    expect(found).toHaveLength(lost[name]!.length);
    for (const [index, beginning] of lost[name]!.entries()) expect(found[index]).toContain(beginning);
  });

  test.each([
    ['bad-pattern.yml', 'has a "<" that is not at its end'],
    ['duplicate-names-included.yml', 'the name "included" is already taken'],
    ['duplicate-names.yml', 'the name "twice" is already taken'],
    ['internal-name.yml', 'a job is named with letters'],
    ['missing-include.yml', 'it does not exist'],
    ['no-yaml.yml', 'Tabs are not allowed'],
  ])('%s is refused with the reason', (name, reason) => {
    expect(() => imported(`refused/${name}`)).toThrow(ConfigurationError);
    expect(() => imported(`refused/${name}`)).toThrow(reason);
  });
});

describe('what is taken over means the same', () => {
  test('a pull over TLS', () => {
    expect(job('pull-tls.yml', 'pull')).toMatchObject({
      name: 'fetch_web',
      connect: {
        type: 'tls',
        address: { host: 'web.example.org', port: 8888 },
        serverCN: 'web',
        dialTimeoutMs: 30_000,
      },
      rootFs: 'vault/web',
      schedule: { type: 'interval', intervalMs: 900_000 },
      pruning: {
        sender: null,
        receiver: {
          keep: [{ type: 'grid', grid: '1x1h(keep=all) | 24x1h | 30x1d | 12x30d', regex: 'zrepl_.*' }],
          others: 'destroy',
        },
      },
    });
  });

  test('a pull over ssh that only runs when woken', () => {
    expect(job('pull-ssh.yml', 'pull')).toMatchObject({
      connect: {
        host: 'app.example.org',
        user: 'root',
        port: 2222,
        identityFile: '/etc/zrepl/ssh/app',
        options: ['Compression=yes'],
      },
      schedule: { type: 'manual' },
    });
  });

  test('keep_receiver of a push goes to the sink in the same file, and the push keeps its own', () => {
    expect(job('local.yml', 'sink').pruning.receiver?.keep).toEqual([
      { type: 'grid', grid: '1x1h(keep=all) | 24x1h | 35x1d | 6x30d', regex: 'zrepl_.*' },
    ]);
    expect(job('local.yml', 'push').pruning.sender?.keep).toEqual([
      { type: 'not_replicated' },
      { type: 'last_n', count: 10, regex: null },
    ]);
  });

  test('pushes to one sink that want different things are told', () => {
    const push = (name: string, count: number) =>
      `- { type: push, name: ${name}, connect: { type: local, listener_name: l, client_identity: ${name} }, filesystems: { "${name}<": true },` +
      ` snapshotting: { type: manual }, pruning: { keep_sender: [], keep_receiver: [{ type: last_n, count: ${count} }] } }\n`;
    const sink = '- { type: sink, name: s, root_fs: s, serve: { type: local, listener_name: l } }\n';
    const pruningOf = (text: string) => ofText(text).configuration.jobs.at(-1)?.pruning.receiver;
    expect(pruningOf(`jobs:\n${push('a', 1)}${push('b', 1)}${sink}`)?.keep).toEqual([
      { type: 'last_n', count: 1, regex: null },
    ]);
    const differing = `jobs:\n${push('a', 1)}${push('b', 2)}${sink}`;
    expect(pruningOf(differing)).toBeNull();
    const told = ofText(differing).notes.filter(({ kind }) => kind === 'dropped');
    expect(told.map(({ message }) => message)).toEqual([
      expect.stringContaining('these differ'),
      expect.stringContaining('these differ'),
    ]);
  });

  test('properties that are sent are taken by the sink in the same file, as zrepl takes them', () => {
    expect(job('local.yml', 'push').send.sendProperties).toBe(true);
    expect(job('local.yml', 'sink').recv.properties.fromSender).toBe(true);
    expect(job('sink-tls.yml', 'sink').recv.properties.fromSender).toBe(false);
  });

  test('encrypted datasets are sent in the clear where zrepl would', () => {
    expect(job('local.yml', 'push').send.encrypted).toBe(false);
    expect(job('external-disk.yml', 'push').send.encrypted).toBe(true);
    const text = (send: string) =>
      `jobs: [{ type: source, name: a, filesystems: { "<": true }, snapshotting: { type: manual }, serve: { type: local, listener_name: l }${send} }]`;
    const sendOf = (send: string) =>
      (ofText(text(send)).configuration.jobs[0] as Extract<Job, { type: 'source' }>).send;
    expect(sendOf('')).toMatchObject({ encrypted: false, raw: false });
    expect(sendOf(', send: { raw: true }')).toMatchObject({ encrypted: null, raw: true });
    expect(sendOf(', send: { raw: true, encrypted: false }')).toMatchObject({ encrypted: null, raw: true });
    expect(sendOf(', send: { raw: true, encrypted: true }')).toMatchObject({ encrypted: true, raw: true });
  });

  test('rates, in bits and bytes', () => {
    expect(job('bandwidth.yml', 'sink').recv.bandwidthLimit).toEqual({
      bytesPerSecondMax: 12_500_000,
      burstBytesMax: 131_072,
    });
    expect(job('bandwidth.yml', 'push').send.bandwidthLimit).toEqual({
      bytesPerSecondMax: 54_321,
      burstBytesMax: 1024,
    });
    const unlimited = imported('bandwidth.yml').configuration.jobs.find(({ name }) => name === 'unlimited');
    expect(unlimited).toMatchObject({ recv: { bandwidthLimit: null } });
    expect(job('sink-tls.yml', 'sink').recv.bandwidthLimit?.bytesPerSecondMax).toBe(24_641_536);
  });

  test('on and off of YAML 1.1', () => {
    expect(job('sink-tls.yml', 'sink').recv).toMatchObject({
      properties: { inherit: ['mountpoint'], override: { 'org.openzfs.systemd:ignore': 'on', canmount: 'off' } },
      placeholderEncryption: 'inherit',
    });
  });

  test('paths that were relative are beside the file', () => {
    expect(job('sink-tls.yml', 'sink').serve).toMatchObject({
      ca: join(folder, 'ca.pem'),
      clientCNs: ['ada', 'grace'],
    });
  });

  test('clients by network keep an identity for each address', () => {
    expect(job('source-tcp.yml', 'source').serve).toMatchObject({
      clients: { '192.0.2.20': 'vault', '2001:db8::1:2': 'second-vault', '198.51.100.0/24': 'lab-*' },
    });
    expect(job('sink-tcp-networks.yml', 'sink').serve).toMatchObject({
      clients: { '192.0.2.20': 'desk', '198.51.100.0/24': 'lab-*' },
    });
  });

  test('hooks, formats, replication and conflicts', () => {
    expect(job('hooks.yml', 'snap').snapshotting).toMatchObject({
      timestamp: { format: '2006-01-02_15h04m05s', location: 'UTC' },
      hooks: [
        {
          path: '/etc/zrepl/hooks/tell.sh',
          timeoutMs: 90_000,
          errIsFatal: true,
          filesystems: { rules: { '<': true } },
        },
        { path: '/etc/zrepl/hooks/special.sh', timeoutMs: 30_000, filesystems: { rules: { 'tank/db/special': true } } },
      ],
    });
    expect(job('snap-cron.yml', 'snap').snapshotting).toMatchObject({
      type: 'cron',
      cron: '*/5 * * * *',
      timestamp: { location: 'Europe/Prague' },
    });
    expect(job('server-to-vault.sender.yml', 'push')).toMatchObject({
      initialReplication: 'fail',
      replication: { concurrency: { steps: 4, sizeEstimates: 2 } },
    });
    expect(job('external-disk.yml', 'push').replication.protection).toEqual({
      initial: 'resumability',
      incremental: 'incremental',
    });
  });

  test('a push without snapshots of its own says that it is run by hand', () => {
    const { configuration } = imported('push-tcp.yml');
    expect(configuration.jobs[0]).toMatchObject({ schedule: { type: 'manual' } });
    expect(configuration.warnings.map(({ code }) => code)).not.toContain('never_runs');
  });
});

describe('what zrepl would not have taken either', () => {
  test.each([
    [
      'a key nobody knows',
      'jobs: [{ type: snap, name: a, colour: red, filesystems: { "<": true }, snapshotting: { type: manual } }]',
      '"colour" is no key of zrepl 0.7 here',
    ],
    ['a job nobody knows', 'jobs: [{ type: teleport, name: a }]', 'the job has the type "teleport"'],
    ['a section nobody knows', 'extra: {}\njobs: []', '"extra" is no key of zrepl 0.7 here'],
    [
      'a format we cannot write',
      'jobs: [{ type: snap, name: a, filesystems: { "<": true }, snapshotting: { type: periodic, interval: 1h, prefix: a, timestamp_format: "2006" } }]',
      'so that names would repeat',
    ],
  ])('%s is named', (_what, text, reason) => {
    expect(
      ofText(text)
        .notes.filter(({ kind }) => kind === 'dropped')
        .map(({ message }) => message),
    ).toEqual([expect.stringContaining(reason)]);
  });

  test('a name we cannot have is changed, and said so', () => {
    const { configuration, notes } = ofText(
      'jobs: [{ type: snap, name: "my job", filesystems: { "<": true }, snapshotting: { type: manual } }]',
    );
    expect(configuration.jobs[0]?.name).toBe('my-job');
    expect(notes.map(({ message }) => message)).toEqual([
      expect.stringContaining('the name "my job" becomes "my-job"'),
    ]);
  });
});
