import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DatasetPath, FilesystemVersion } from '../../src/dataset.ts';
import { zfsTool } from '../../src/handlers/zfs/commands-tool.ts';
import { zfsHandler } from '../../src/handlers/zfs/handler.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { RPCHandler, RPCRequester } from '../../src/rpc/interfaces.ts';
import { connectCommand } from '../../src/transport/command.ts';
import { quoteForShell } from '../../src/transport/ssh.ts';
import { builtProgram, runProgram } from '../support/run-program.ts';
import { zfsMachine } from '../support/zfs-machine.ts';
import type { ZfsMachine } from '../support/zfs-machine.ts';
import { tokenOf } from '../support/zfs-token.ts';

const configuration = `
identities:
  web1:
    sources:
      "zfs:tank<": true
      "zfs:tank/tmp<": false
      "zfs:tank/tmp/keep": true
    snapshot: true
    sink: zfs:backup
    receive:
      options: { compression: zstd }
      exclude: [atime]
  reader:
    sources: ["zfs:tank/home"]
  storer:
    sink: zfs:backup
    sudo: true
  mixed:
    sources: ["zfs:tank/home", /srv/data]
`;
const datasets = ['tank/home', 'tank/home/ann', 'tank/tmp', 'tank/tmp/keep', 'backup/web2', 'backup/web2/home'];

let machine: ZfsMachine;
const clients: RPCRequester[] = [];

beforeEach(async () => {
  machine = await zfsMachine(datasets);
  for (const name of ['tank', ...datasets]) machine.write(name, name);
  for (const name of ['tank', ...datasets]) machine.fake.pool.snapshot(name, 'one');
  await writeFile(join(machine.work, 'stdinserver.yml'), configuration);
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.forceClose();
  await machine.close();
});

const path = (name: string): DatasetPath => name.split('/');
const names = (paths: readonly DatasetPath[]) => paths.map((components) => components.join('/'));
const { signal } = new AbortController();

/** Connects as ssh would, for a client that asks for a command. */
async function connect(identity: string, ...command: string[]): Promise<RPCRequester> {
  const words = command.length === 0 ? '' : ['snapferry', ...command].map(quoteForShell).join(' ');
  const environment = [`PATH=${machine.env['PATH']!}`, `SSH_ORIGINAL_COMMAND=${words}`];
  const program = [process.execPath, await builtProgram(), 'stdinserver', identity];
  const config = ['--config', join(machine.work, 'stdinserver.yml')];
  const stream = await connectCommand({ argv: ['/usr/bin/env', ...environment, ...program, ...config] });
  const client = await ByteStreamRPC.connect(stream);
  clients.push(client);
  return client;
}

/** Asks for a document. */
const ask = (identity: string, ...command: string[]) =>
  runProgram(['stdinserver', identity, '--config', join(machine.work, 'stdinserver.yml')], {
    env: { ...machine.env, SSH_ORIGINAL_COMMAND: ['snapferry', ...command].map(quoteForShell).join(' ') },
  });

const versionsOf = (client: RPCRequester, name: string) => client.filesystemVersions({ filesystem: path(name) });
const denied = { code: 'ACCESS_DENIED' };
const invalid = { code: 'INVALID_REQUEST' };

/** The names of datasets that zfs was told, whatever it was asked. */
const toldNames = () => machine.fake.calls.flat().join(' ');

describe('reading', () => {
  test('of a tree offers what the patterns allow, and refuses the rest', async () => {
    const client = await connect('web1', 'serve', '--stdio', '--recursive', '--', 'zfs:tank');
    const offered = names(await client.filesystems({ roots: null }));
    expect(offered).toEqual(['tank', 'tank/home', 'tank/home/ann', 'tank/tmp/keep']);
    expect(names(await client.filesystems({ roots: ['tank/tmp'] }))).toEqual(['tank/tmp/keep']);
    const [version] = await versionsOf(client, 'tank/tmp/keep');
    const { bytes } = await client.initialTransfer({ filesystem: path('tank/tmp/keep'), version: version! });
    for await (const piece of bytes) expect(piece.byteLength).toBeGreaterThan(0);
    machine.fake.calls.length = 0;
    for (const name of ['tank/tmp', 'tank/tmp/other', 'backup/web2', 'backup']) {
      await expect(versionsOf(client, name)).rejects.toMatchObject(denied);
      const request = { filesystem: path(name), version: version! };
      await expect(client.initialTransfer(request)).rejects.toMatchObject(denied);
    }
    expect(toldNames()).toBe('');
  });

  test('of one dataset does not offer those below it', async () => {
    const client = await connect('web1', 'serve', '--stdio', '--', 'zfs:tank/home');
    expect(names(await client.filesystems({ roots: null }))).toEqual(['tank/home']);
    await expect(versionsOf(client, 'tank/home/ann')).rejects.toMatchObject(denied);
  });

  test.each([
    ['web1', 'zfs:tank/tmp'],
    ['web1', 'zfs:backup/web2'],
    ['web1', 'zfs:backup'],
    ['web1', '/etc'],
    ['web1', 'btrfs:/data'],
    ['reader', 'zfs:tank'],
    ['reader', 'zfs:tank/homes'],
    ['storer', 'zfs:tank/home'],
  ])('%s may not name %s', async (identity, location) => {
    const client = await connect(identity, 'serve', '--stdio', '--', location);
    await expect(client.filesystems({ roots: null })).rejects.toMatchObject(denied);
    expect(toldNames()).toBe('');
  });

  test('names that could be anything else are refused before zfs hears of them', async () => {
    const client = await connect('web1', 'serve', '--stdio', '--recursive', '--', 'zfs:tank');
    const [version] = await versionsOf(client, 'tank/home');
    machine.fake.calls.length = 0;
    const hostile = [
      ['-r'],
      ['tank', '-r'],
      ['tank', 'a@b'],
      ['tank', 'a#b'],
      ['tank', '..'],
      ['tank', 'a\nb'],
      ['tank/home'],
    ];
    for (const filesystem of hostile) {
      await expect(client.filesystemVersions({ filesystem })).rejects.toMatchObject(invalid);
    }
    for (const name of ['-F', 'a@b', '%recv', 'a b/c', '..']) {
      const odd: FilesystemVersion = { ...version!, name };
      await expect(client.initialTransfer({ filesystem: path('tank/home'), version: odd })).rejects.toMatchObject({
        code: expect.stringMatching(/^(INVALID_REQUEST|VERSION_NOT_FOUND)$/) as string,
      });
    }
    await expect(client.filesystems({ roots: ['-r'] })).rejects.toMatchObject(invalid);
    expect(toldNames()).not.toMatch(/(^| )-F|%recv|a@b|a#b| -r |\.\./);
  });

  test('a resume token that names anything but the requested step is refused', async () => {
    const client = await connect('web1', 'serve', '--stdio', '--recursive', '--', 'zfs:tank');
    const [version] = await versionsOf(client, 'tank/home');
    const secret = machine.fake.pool.get('tank/tmp').snapshots[0]!;
    const own = { toName: 'tank/home@one', toGuid: version!.guid, offset: 0n, bytes: 0n, flags: [] };
    const foreign = [
      tokenOf({ ...own, toName: 'tank/tmp@one', toGuid: secret.guid }),
      tokenOf({ ...own, toName: 'tank/tmp@one' }),
      tokenOf({ ...own, toGuid: secret.guid }),
      tokenOf({ ...own, fromGuid: secret.guid }),
      'no token',
      tokenOf(own).replace(/.$/, (digit) => (digit === '0' ? '1' : '0')),
    ];
    machine.fake.calls.length = 0;
    for (const resumeToken of foreign) {
      const request = { filesystem: path('tank/home'), version: version!, resumeToken };
      await expect(client.initialTransfer(request)).rejects.toMatchObject({ code: 'RESUME_TOKEN_INVALID' });
    }
    expect(toldNames()).toBe('');
  });

  test('snapshots are taken of what may be read, by those who may', async () => {
    machine.write('tank/home', 'changed');
    machine.write('tank/tmp', 'changed');
    const flags = ['serve', '--stdio', '--snapshot', '--snapshot-name=two', '--recursive'];
    await versionsOf(await connect('web1', ...flags, '--', 'zfs:tank'), 'tank');
    expect(machine.fake.callsOf('snapshot')).toEqual(['tank/home@two']);
    const reader = await connect('reader', ...flags, '--', 'zfs:tank/home');
    await expect(versionsOf(reader, 'tank/home')).rejects.toMatchObject(denied);
  });
});

describe('pushing', () => {
  /** What a client pushes from: its own tank. */
  const source = (...roots: string[]): RPCHandler =>
    zfsHandler({
      roots: roots.map((dataset) => ({ dataset })),
      tool: zfsTool({ argv: [machine.fake.program] }),
    });
  const push = (client: RPCRequester, handler: RPCHandler) =>
    client.pullMe({ initialReplicationPolicy: 'most_recent' }, handler, { signal });
  const made = () =>
    [...machine.fake.pool.datasets.keys()].filter((name) => !['tank', 'backup', ...datasets].includes(name));

  test('goes at or below the place of the identity, and nowhere else', async () => {
    const one = await connect('web1', 'serve', '--stdio', '--', 'zfs:backup/web1/copy');
    expect(await push(one, source('tank/home/ann'))).toMatchObject({ filesystems: [{ ok: true, steps: 1 }] });
    expect(machine.history('backup/web1/copy')).toBe('one=tank/home/ann');
    for (const location of [
      'zfs:backup/web2/home',
      'zfs:backup',
      'zfs:backup/web11',
      'zfs:tank/x',
      'zfs:backup/web1/../web2',
    ]) {
      const other = await connect('web1', 'serve', '--stdio', '--', location);
      await expect(push(other, source('tank/home/ann'))).rejects.toMatchObject({
        code: expect.stringMatching(/^(ACCESS_DENIED|INVALID_REQUEST)$/) as string,
      });
    }
    expect(made()).toEqual(['backup/web1', 'backup/web1/copy']);
  });

  test('of a tree maps it below its place, whatever the client calls its datasets', async () => {
    const flags = ['serve', '--stdio', '--recursive', '--source-root=tank/home', '--'];
    const good = await connect('web1', ...flags, 'zfs:backup/web1');
    expect(await push(good, source('tank/home'))).toMatchObject({ filesystems: [{ ok: true }, { ok: true }] });
    expect(made()).toEqual(['backup/web1', 'backup/web1/ann']);
    const base = source('tank/home');
    const filesystem = path('tank/home');
    // It has something to send under any name.
    const hostile: RPCHandler = {
      ...base,
      filesystemVersions: (_, context) => base.filesystemVersions({ filesystem }, context),
      initialTransfer: (request, context) => base.initialTransfer({ ...request, filesystem }, context),
      incrementalTransfer: (request, context) => base.incrementalTransfer({ ...request, filesystem }, context),
    };
    const escapes = [
      ['tank', 'home', '..', '..', 'web2', 'x'],
      ['backup', 'web2', 'x'],
      ['tank', 'home', 'a/../../web2'],
      ['-r'],
    ];
    const evil = await connect('web1', ...flags, 'zfs:backup/web1');
    const report = await push(evil, { ...hostile, filesystems: () => Promise.resolve(escapes) });
    expect(report?.filesystems.map(({ ok }) => ok)).toEqual([false, false, false, false]);
    expect(made()).toEqual(['backup/web1', 'backup/web1/ann']);
  });

  test('is stored as the configuration says, not as the client does', async () => {
    const flags = ['serve', '--stdio', '--recv-option=mountpoint=/etc', '--', 'zfs:backup/web1/a'];
    const choosy = await connect('web1', ...flags);
    await expect(push(choosy, source('tank/home/ann'))).rejects.toMatchObject(denied);
    const plain = await connect('web1', 'serve', '--stdio', '--', 'zfs:backup/web1/a');
    await push(plain, source('tank/home/ann'));
    expect(machine.fake.callsOf('recv').at(-1)).toMatch(/-o compression=zstd .*-x atime/);
  });

  test('holds what was received in the name of the client', async () => {
    const client = await connect('web1', 'serve', '--stdio', '--', 'zfs:backup/web1/a');
    await push(client, source('tank/home/ann'));
    expect(
      machine.fake.pool.holds().filter((hold) => hold.startsWith('backup/web1/a@one: snapferry_LAST_I_web1_J_cli_')),
    ).toHaveLength(1);
  });

  test('without a location goes below the place of the identity, under its own name', async () => {
    const client = await connect('web1');
    expect(names(await client.filesystems({ roots: null }))).toEqual([
      'tank',
      'tank/home',
      'tank/home/ann',
      'tank/tmp/keep',
    ]);
    await push(client, source('tank/home'));
    expect(made()).toEqual(['backup/web1', 'backup/web1/tank', 'backup/web1/tank/home', 'backup/web1/tank/home/ann']);
    expect(machine.fake.pool.get('backup/web1/tank').snapshots).toEqual([]);
    const reader = await connect('reader');
    await expect(push(reader, source('tank/home'))).rejects.toMatchObject(denied);
    const mixed = await connect('mixed');
    await expect(mixed.filesystems({ roots: null })).rejects.toMatchObject(invalid);
  });

  test('runs zfs through sudo where the configuration says so, and not where a client does', async () => {
    const storer = await connect('storer', 'serve', '--stdio', '--', 'zfs:backup/storer/a');
    await push(storer, source('tank/home/ann'));
    expect(await readFile(join(machine.work, 'sudo.log'), 'utf8')).toMatch(/^-n zfs recv /m);
    const client = await connect('web1', 'serve', '--stdio', '--sudo', '--', 'zfs:backup/web1/a');
    await expect(push(client, source('tank/home/ann'))).rejects.toMatchObject(denied);
  });
});

describe('documents', () => {
  test('list and holds are confined, and nothing is released', async () => {
    const list = await ask('web1', 'list', '--json', '--recursive', '--', 'zfs:tank');
    const { datasets: listed } = JSON.parse(list.stdout) as { datasets: { dataset: string }[] };
    expect(listed.map(({ dataset }) => dataset)).toEqual(['tank', 'tank/home', 'tank/home/ann', 'tank/tmp/keep']);
    machine.fake.pool.get('tank/tmp').snapshots[0]!.holds.add('snapferry_STEP_I_web9_J_x');
    machine.fake.pool.get('tank/home').snapshots[0]!.holds.add('snapferry_STEP_I_web1_J_x');
    const holds = await ask('web1', 'holds', '--json', '--recursive', '--', 'zfs:tank');
    expect(JSON.parse(holds.stdout)).toMatchObject({ traces: [{ dataset: 'tank/home', identity: 'web1', job: 'x' }] });
    const release = await ask('web1', 'release', '--json', '--all-jobs', '--', 'zfs:tank/home');
    expect(release.code).toBe(1);
    expect(JSON.parse(release.stdout)).toMatchObject({ error: denied });
    expect(machine.fake.pool.holds()).toHaveLength(2);
    expect(JSON.parse((await ask('web1', 'list', '--json', '--', 'zfs:tank/tmp')).stdout)).toMatchObject({
      error: denied,
    });
    const snapshot = await ask('reader', 'snapshot', '--json', '--', 'zfs:tank/home');
    expect(JSON.parse(snapshot.stdout)).toMatchObject({ error: denied });
  });
});
