import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { linkSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, test } from 'vitest';
import type { Job } from '../../src/config/job.ts';
import { createJob } from '../../src/jobs/create-job.ts';
import { JobLock } from '../../src/jobs/job-lock.ts';
import type { RunResult } from '../../src/jobs/run-result.ts';
import { ServedListeners } from '../../src/jobs/served-listeners.ts';
import { SnapferryError } from '../../src/errors.ts';
import type { Listener } from '../../src/transport/listener.ts';
import { makeAuthority } from '../support/certificates.ts';
import { childArgv } from '../support/child-program.ts';
import { FakeClock, settled } from '../support/fake-clock.ts';
import { JobFixture } from './job-fixture.ts';

let fixture: JobFixture;
afterEach(() => fixture.cleanup());

const never = new AbortController().signal;

function jobs(serve: string, connect: string): string {
  return `
  - name: web1
    type: source
    backend: directory
    serve: ${serve}
    filesystems: { ROOT/one: true }
    snapshotting: { type: periodic, prefix: p_, interval: 1h }
    pruning: { keep: [{ type: regex, regex: ".*" }] }
  - name: fetch
    type: pull
    backend: directory
    connect: ${connect}
    root_fs: ROOT/copies
    interval: 1h
    replication: { retry: { attempts: 1 } }
    pruning: { keep_receiver: [{ type: regex, regex: ".*" }] }
`;
}

async function prepared(serve: string, connect: string): Promise<void> {
  fixture = new JobFixture(jobs(serve, connect));
  fixture.write('one/file', 'x');
  await fixture.run('web1');
}

/** A port that nobody listens on at the moment. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function pullsAs(identity: string): Promise<void> {
  await fixture.serve('web1');
  expect(await fixture.run('fetch')).toMatchObject({ outcome: 'ok', datasets: [{ steps: 1 }] });
  expect(fixture.eventsOf('sessionBegan')).toMatchObject([{ job: 'web1', identity }]);
  const { session } = fixture.eventsOf('sessionBegan')[0]!;
  expect(fixture.eventsOf('requestDone').every((event) => event.session === session && event.error === null)).toBe(
    true,
  );
  expect(fixture.eventsOf('sessionEnded')).toMatchObject([{ session, identity, error: null }]);
}

describe('a job is served and reached', () => {
  test('by plain TCP, known by its address', async () => {
    const port = await freePort();
    await prepared(
      `{ type: tcp, listen: "127.0.0.1:${port}", clients: { "127.0.0.0/8": "host-*" } }`,
      `{ type: tcp, address: "127.0.0.1:${port}" }`,
    );
    await pullsAs('host-127.0.0.1');
  });

  test('by plain TCP on every address', async () => {
    const port = await freePort();
    await prepared(
      `{ type: tcp, listen: ":${port}", clients: { "127.0.0.1": vault } }`,
      `{ type: tcp, address: "127.0.0.1:${port}" }`,
    );
    await pullsAs('vault');
  });

  test('by TLS, known by its certificate', async () => {
    const port = await freePort();
    const files = 'ca: ROOT/tls/ca.crt, cert: ROOT/tls/NAME.crt, key: ROOT/tls/NAME.key';
    await prepared(
      `{ type: tls, listen: "127.0.0.1:${port}", ${files.replaceAll('NAME', 'server')}, client_cns: [vault] }`,
      `{ type: tls, address: "127.0.0.1:${port}", ${files.replaceAll('NAME', 'client')}, server_cn: localhost }`,
    );
    const authority = await makeAuthority();
    const [server, client] = [await authority.issue('/CN=server', 'DNS:localhost'), await authority.issue('/CN=vault')];
    await authority.remove();
    fixture.write('tls/ca.crt', authority.cert);
    fixture.write('tls/server.crt', server.cert);
    fixture.write('tls/server.key', server.key);
    fixture.write('tls/client.crt', client.cert);
    fixture.write('tls/client.key', client.key);
    await pullsAs('vault');
  });

  test('by a socket, as whoever the configuration says', async () => {
    await prepared('{ type: unix, path: ROOT/socket, client_identity: vault }', '{ type: unix, path: ROOT/socket }');
    await pullsAs('vault');
    expect(statSync(fixture.path('socket')).mode & 0o777).toBe(0o600);
  });

  test('by a private socket for each identity, which a forced command finds', async () => {
    await prepared('{ type: stdinserver, client_identities: [vault, db1] }', '{ type: unix, path: ROOT/sockets/db1 }');
    await pullsAs('db1');
    expect(statSync(fixture.path('sockets')).mode & 0o777).toBe(0o700);
  });

  test('by a program', async () => {
    await prepared(
      '{ type: unix, path: ROOT/socket, client_identity: vault }',
      `{ type: command, command: [${childArgv('relay-to-socket.ts').join(', ')}, ROOT/socket] }`,
    );
    await pullsAs('vault');
  });

  test('by a socket that systemd has opened', async () => {
    await prepared(
      '{ type: unix, path: "systemd:web", client_identity: vault }',
      '{ type: unix, path: ROOT/inherited }',
    );
    writeFileSync(fixture.path('snapferry.yml'), fixture.text);
    const opener = createServer().listen(fixture.path('opened'));
    await once(opener, 'listening');
    // The opener takes the name with it when it closes.
    linkSync(fixture.path('opened'), fixture.path('inherited'));
    const { fd } = (opener as unknown as { _handle: { fd: number } })._handle;
    // A shell tells the child its own number, as a service manager would, and becomes the child.
    const argv = childArgv('inherited-source.ts', fixture.path('snapferry.yml'));
    const child = spawn('/bin/sh', ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', ...argv], {
      stdio: ['pipe', 'pipe', 'inherit', fd],
      env: { ...process.env, LISTEN_FDS: '1', LISTEN_FDNAMES: 'web' },
    });
    const ended = once(child, 'exit');
    expect(await once(createInterface({ input: child.stdout! }), 'line')).toEqual(['listening']);
    opener.close();
    expect(await fixture.run('fetch')).toMatchObject({ outcome: 'ok', datasets: [{ steps: 1 }] });
    child.stdin!.end();
    await ended;
  });
});

describe('a job that cannot be reached', () => {
  test('says so, and listens as soon as it can', async () => {
    await prepared(
      '{ type: local, listener_name: here }',
      '{ type: local, listener_name: here, client_identity: vault }',
    );
    const blocker = await fixture.listeners.listen('here', () => undefined);
    const service = fixture.job('web1').serve!();
    while (fixture.clock.waiting === 0) await settled();
    expect(fixture.eventsOf('listenFailed')).toMatchObject([{ job: 'web1', error: { code: 'BUSY' } }]);
    await fixture.clock.pass(1000);
    while (fixture.eventsOf('listenFailed').length === 1) await settled();
    while (fixture.clock.waiting === 0) await settled();
    await blocker.close();
    await fixture.clock.pass(2000);
    await service.listening;
    expect((await fixture.run('fetch')).outcome).toBe('ok');
    await service.stop(0);
    expect(fixture.clock.waiting).toBe(0);
  });

  test('because systemd has not opened its socket', async () => {
    await prepared('{ type: tcp, listen: "systemd:web", clients: { "127.0.0.1": vault } }', '{ type: unix, path: /x }');
    const service = fixture.job('web1').serve!();
    while (fixture.eventsOf('listenFailed').length === 0) await settled();
    expect(fixture.eventsOf('listenFailed')[0]!.error.message).toContain('no socket named "web"');
    await service.stop(0);
    await service.listening;
  });

  test('by a client that is not known is told so by its client', async () => {
    const port = await freePort();
    await prepared(
      `{ type: tcp, listen: "127.0.0.1:${port}", clients: { "192.0.2.1": vault } }`,
      `{ type: tcp, address: "127.0.0.1:${port}" }`,
    );
    await fixture.serve('web1');
    const result = await fixture.run('fetch');
    expect(result.error!.message).toContain('does not know 127.0.0.1');
  });
});

describe('a listener that is lost', () => {
  test('is opened again, after a while', async () => {
    fixture = new JobFixture(jobs('{ type: local, listener_name: x }', '{ type: unix, path: /x }'));
    const clock = new FakeClock();
    const failures: string[] = [];
    let lose: (error: Error) => void = () => undefined;
    let opened = 0;
    const listeners = new ServedListeners({
      open: () => {
        opened += 1;
        const closed = new Promise<void>((_resolve, reject) => (lose = reject));
        closed.catch(() => undefined);
        const listener = { description: 'x', closed, close: () => Promise.resolve() };
        return Promise.resolve([listener as unknown as Listener]);
      },
      onConnection: () => undefined,
      onFailed: ({ code }) => failures.push(code),
      clock,
      logger: fixture.dependencies.logger,
    });
    await listeners.listening;
    lose(new SnapferryError('CONNECTION_LOST', 'gone'));
    await clock.pass(1000);
    expect([opened, failures]).toEqual([2, ['CONNECTION_LOST']]);
    await listeners.close();
    expect(clock.waiting).toBe(0);
  });
});

describe('a source of which others take the snapshots', () => {
  test('prunes when something has been fetched', async () => {
    fixture = new JobFixture(
      jobs('{ type: local, listener_name: here }', '{ type: local, listener_name: here, client_identity: vault }'),
    );
    fixture.write('one/file', 'x');
    for (let round = 0; round < 3; round++) {
      await fixture.run('web1');
      fixture.clock.jump(3_600_000);
    }
    const settings = fixture.settings('web1') as Extract<Job, { type: 'source' }>;
    const sender = { keep: [{ type: 'last_n', count: 1, regex: null }], others: 'keep' } as const;
    const job = createJob(
      { ...settings, snapshotting: { type: 'manual' }, pruning: { sender, receiver: null } },
      fixture.dependencies,
    );
    const service = job.serve!();
    await service.listening;
    const ended = fixture.runEnd('web1');
    expect((await fixture.run('fetch', 'wakeup', never)).outcome).toBe('ok');
    expect(await ended).toMatchObject({ cause: 'peer', identity: 'vault', outcome: 'ok', datasets: [{ pruned: 2 }] });
    expect(fixture.taken('one')).toEqual(['p_20260307_070609_000']);
    await service.stop(0);
  });
});

describe('a source that another process is running', () => {
  test('sends nothing meanwhile, and its client tries again', async () => {
    await prepared(
      '{ type: local, listener_name: here }',
      '{ type: local, listener_name: here, client_identity: vault }',
    );
    await fixture.serve('web1');
    const release = await new JobLock(fixture.path('state'), 'web1').acquire(() => Promise.resolve());
    const result = await fixture.run('fetch');
    expect(result.datasets).toMatchObject([{ error: { code: 'BUSY' } }]);
    await release();
    expect((await fixture.run('fetch')).outcome).toBe('ok');
  });

  test('is not run by another one while it sends', async () => {
    await prepared(
      '{ type: local, listener_name: here }',
      '{ type: local, listener_name: here, client_identity: vault }',
    );
    const service = await fixture.serve('web1');
    const other = createJob(fixture.settings('web1'), { ...fixture.dependencies, onEvent: () => undefined });
    let second: Promise<RunResult> | undefined;
    fixture.clock.jump(3_600_000);
    fixture.onEvent = ({ kind }) => {
      if (kind === 'stepBegan') second ??= other.run({ cause: 'once', signal: never });
    };
    expect((await fixture.run('fetch')).outcome).toBe('ok');
    expect((await second)!.error).toMatchObject({ code: 'BUSY' });
    await service.stop(1000);
    fixture.clock.jump(3_600_000);
    expect((await other.run({ cause: 'once', signal: never })).outcome).toBe('ok');
  });
});
