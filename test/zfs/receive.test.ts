import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { zfsTool } from '../../src/handlers/zfs/commands-tool.ts';
import { zfsSink } from '../../src/handlers/zfs/sink.ts';
import type { ZfsSinkOptions } from '../../src/handlers/zfs/sink.ts';
import { listVersions } from '../../src/handlers/zfs/versions.ts';
import { SnapferryError } from '../../src/errors.ts';
import type { TransferBytes } from '../../src/sink.ts';
import { describeZfs, isThere, run, shell, snapshotsOf, TestPool, valueOf } from './pools.ts';
import { snapshotContent } from './snapshot-content.ts';

const megabyte = 1024 * 1024;

/** What a promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<SnapferryError> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof SnapferryError) return error;
  throw new Error('it did not fail as it should', { cause: error });
}

describeZfs('what arrives at a real zfs', () => {
  let source: TestPool;
  let target: TestPool;
  let origin: string;
  let versions: Record<string, FilesystemVersion>;
  beforeAll(async () => {
    source = new TestPool('source');
    target = new TestPool('target', 256);
    origin = `${source.name}/origin`;
    run('zfs', 'create', origin);
    for (const name of ['one', 'two', 'three']) {
      run('dd', 'if=/dev/urandom', `of=${join(source.pathOf(origin), name)}`, 'bs=1M', 'count=3', 'status=none');
      run('zfs', 'snapshot', `${origin}@${name}`);
    }
    const list = await listVersions(zfsTool(), origin);
    versions = Object.fromEntries(list.map((version) => [version.name, version]));
  });
  afterAll(() => {
    source.destroy();
    target.destroy();
  });

  let places = 0;
  /** A place of its own at the target. */
  const place = () => [`c${++places}`];
  const copyOf = (filesystem: readonly string[]) => [target.name, ...filesystem].join('/');
  const sinkOf = (options: Partial<ZfsSinkOptions> = {}) => zfsSink({ locate: copyOf, ...options });
  const streamFile = (name: string) => join(source.directory, name);
  /** A stream in a file, made once. */
  const streamOf = (name: string, ...args: string[]): Buffer => {
    shell(`zfs send ${args.join(' ')} > ${streamFile(name)}`);
    return readFileSync(streamFile(name));
  };
  const request = (filesystem: readonly string[], from: string | null, to: string, resumed = false) => ({
    filesystem,
    from: from === null ? null : versions[from]!,
    to: versions[to]!,
    format: 'zfs',
    resumed,
  });
  async function* pieces(bytes: Uint8Array): TransferBytes {
    for (let start = 0; start < bytes.length; start += 65536) {
      yield await Promise.resolve(bytes.subarray(start, start + 65536));
    }
  }

  test('a damaged stream is refused with its checksum, and a resume by its token makes it whole', async () => {
    const stream = streamOf('full', `${origin}@one`);
    const damaged = Buffer.from(stream);
    damaged.writeUInt32LE(0xdeadbeef, Math.floor(damaged.length / 2));
    const filesystem = place();
    const sink = sinkOf();
    const error = await failure(sink.receive(request(filesystem, null, 'one'), pieces(damaged)));
    expect(error.message).toContain('checksum mismatch');
    expect(await sink.filesystemVersions(filesystem)).toBeNull();
    const state = await sink.resumeState(filesystem);
    expect(state).toMatchObject({ fromGuid: null, toGuid: versions['one']!.guid });
    const rest = streamOf('rest', '-t', state!.token);
    expect(rest.length).toBeLessThan(0.8 * stream.length);
    await sink.receive(request(filesystem, null, 'one', true), pieces(rest));
    expect(snapshotContent(`${copyOf(filesystem)}@one`)).toEqual(snapshotContent(`${origin}@one`));
  });

  test('the same for an increment; the rest of one that has moved on is refused, without a word about kernel modules', async () => {
    const filesystem = place();
    const sink = sinkOf();
    await sink.receive(request(filesystem, null, 'one'), pieces(streamOf('full', `${origin}@one`)));
    const stream = streamOf('inc', '-i', '@one', `${origin}@two`);
    const cut = async (bytes: Buffer, resumed: boolean) =>
      failure(sink.receive(request(filesystem, 'one', 'two', resumed), pieces(bytes.subarray(0, bytes.length / 3))));
    await cut(stream, false);
    const older = streamOf('older', '-t', (await sink.resumeState(filesystem))!.token);
    await cut(older, true);
    const error = await failure(sink.receive(request(filesystem, 'one', 'two', true), pieces(older)));
    expect(error.code).toBe('RESUME_TOKEN_INVALID');
    expect(error.message).toMatch(/^what was sent does not go on where the partial receive/);
    const token = (await sink.resumeState(filesystem))!.token;
    await sink.receive(request(filesystem, 'one', 'two', true), pieces(streamOf('newer', '-t', token)));
    expect(snapshotsOf(copyOf(filesystem)).map((name) => name.split('@')[1])).toEqual(['one', 'two']);
    expect(await sink.resumeState(filesystem)).toBeNull();
  });

  test('the error comes after the last byte: nothing is received, however whole the stream was', async () => {
    const stream = streamOf('full', `${origin}@one`);
    const filesystem = place();
    const late = async function* (): TransferBytes {
      yield* pieces(stream);
      throw new SnapferryError('DIGEST_MISMATCH', 'the digest is wrong');
    };
    const error = await failure(sinkOf().receive(request(filesystem, null, 'one'), late()));
    expect(error.code).toBe('DIGEST_MISMATCH');
    expect(await sinkOf().filesystemVersions(filesystem)).toBeNull();
  });

  test('an increment that is there already is well, in whatever state the dataset is since', async () => {
    const filesystem = place();
    const sink = sinkOf();
    await sink.receive(request(filesystem, null, 'one'), pieces(streamOf('full', `${origin}@one`)));
    const increment = streamOf('inc', '-i', '@one', `${origin}@two`);
    await sink.receive(request(filesystem, 'one', 'two'), pieces(increment));
    expect(await sink.receive(request(filesystem, 'one', 'two'), pieces(increment))).toMatchObject({ notices: [] });
    expect(snapshotsOf(copyOf(filesystem))).toHaveLength(2);
  });

  test('snapshots in the wrong order are refused and change nothing', async () => {
    const filesystem = place();
    const sink = sinkOf();
    await sink.receive(request(filesystem, null, 'one'), pieces(streamOf('full', `${origin}@one`)));
    const error = await failure(
      sink.receive(request(filesystem, 'two', 'three'), pieces(streamOf('later', '-i', '@two', `${origin}@three`))),
    );
    expect(error.code).toBe('VERSION_NOT_FOUND');
    expect(snapshotsOf(copyOf(filesystem))).toHaveLength(1);
  });

  test('a package brings one snapshot and no property; with properties wanted, none of the guarded ones', async () => {
    const props = `${source.name}/props`;
    run('zfs', 'create', '-o', 'quota=200M', '-o', 'setuid=on', '-o', 'org.example:tag=theirs', props);
    run('zfs', 'create', `${props}/child`);
    run('zfs', 'set', 'sharenfs=off', 'exec=on', 'recordsize=16k', props);
    run('zfs', 'snapshot', '-r', `${props}@one`);
    run('zfs', 'snapshot', '-r', `${props}@two`);
    const list = Object.fromEntries((await listVersions(zfsTool(), props)).map((version) => [version.name, version]));
    const received = async (stream: Buffer, to: string, options: Partial<ZfsSinkOptions> = {}) => {
      const filesystem = place();
      const step = { filesystem, from: null, to: list[to]!, format: 'zfs', resumed: false };
      const { notices } = await sinkOf(options).receive(step, pieces(stream));
      expect(notices).toEqual([]);
      return copyOf(filesystem);
    };
    const local = (dataset: string) =>
      run('zfs', 'get', '-H', '-s', 'local,received', '-o', 'property,value', 'all', dataset);
    const package1 = streamOf('package', '-p', `${props}@one`);
    expect(local(await received(package1, 'one'))).toBe('readonly\ton');
    const wanted = await received(package1, 'one', { properties: { fromSender: true } });
    expect(local(wanted).split('\n').sort()).toEqual(['org.example:tag\ttheirs', 'readonly\ton', 'recordsize\t16K']);
    // A replication package has children and a history: nothing but what was agreed on comes out of it.
    const whole = await received(streamOf('replication', '-R', `${props}@two`), 'one');
    expect(snapshotsOf(whole)).toEqual([`${whole}@one`]);
    expect(isThere(`${whole}/child`)).toBe(false);
  });

  test('a foreign partial receive is discarded for a new transfer; one that runs is left alone', async () => {
    const filesystem = place();
    const copy = copyOf(filesystem);
    streamOf('full', `${origin}@two`);
    shell(`head -c 2000000 ${streamFile('full')} | zfs recv -s -u ${copy} || true`);
    const sink = sinkOf();
    expect(await sink.resumeState(filesystem)).toMatchObject({ toGuid: versions['two']!.guid });
    await sink.receive(request(filesystem, null, 'one'), pieces(streamOf('other', `${origin}@one`)));
    expect(snapshotsOf(copy)).toEqual([`${copy}@one`]);

    const increment = streamOf('inc', '-i', '@one', `${origin}@two`);
    const running = spawn('zfs', ['recv', '-s', '-u', copy], { stdio: ['pipe', 'ignore', 'ignore'] });
    running.stdin.write(increment.subarray(0, increment.length / 2));
    while (valueOf('receive_resume_token', copy) === '-') await new Promise((resolve) => setTimeout(resolve, 20));
    // A token does not mean that nobody is receiving.
    expect(await failure(sink.discardPartial(filesystem))).toMatchObject({ code: 'BUSY' });
    expect(await failure(sink.receive(request(filesystem, 'one', 'two'), pieces(increment)))).toMatchObject({
      code: 'BUSY',
    });
    const token = (await sink.resumeState(filesystem))!.token;
    const rest = streamOf('rest', '-t', token);
    expect(await failure(sink.receive(request(filesystem, 'one', 'two', true), pieces(rest)))).toMatchObject({
      code: 'BUSY',
    });
    running.stdin.end(increment.subarray(increment.length / 2));
    expect(await once(running, 'exit')).toEqual([0, null]);
    expect(snapshotsOf(copy)).toHaveLength(2);
  });

  test('a first receive that runs elsewhere is told as that', async () => {
    const filesystem = place();
    const copy = copyOf(filesystem);
    const stream = streamOf('full', `${origin}@one`);
    const running = spawn('zfs', ['recv', '-u', copy], { stdio: ['pipe', 'ignore', 'ignore'] });
    running.stdin.write(stream.subarray(0, stream.length / 2));
    while (!isThere(copy)) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await sinkOf().filesystemVersions(filesystem)).toBeNull();
    expect(await failure(sinkOf().receive(request(filesystem, null, 'one'), pieces(stream)))).toMatchObject({
      code: 'BUSY',
    });
    running.stdin.end(stream.subarray(stream.length / 2));
    expect(await once(running, 'exit')).toEqual([0, null]);
  });

  test('a pool that fills up: the old snapshots stay, what has arrived is kept, and goes on when there is room', async () => {
    const small = new TestPool('small', 80);
    try {
      const sink = zfsSink({ locate: (filesystem) => [small.name, ...filesystem].join('/') });
      const filesystem = ['copy'];
      await sink.receive(request(filesystem, null, 'one'), pieces(streamOf('full', `${origin}@one`)));
      // All that is free but about a megabyte.
      const free = Number(valueOf('available', small.name));
      run(
        'dd',
        'if=/dev/urandom',
        `of=${join(small.mountpoint, 'fill')}`,
        'bs=64k',
        `count=${Math.floor((free - 1.2 * megabyte) / 65536)}`,
        'status=none',
        'conv=fsync',
      );
      const increment = streamOf('inc', '-i', '@one', `${origin}@two`);
      const error = await failure(sink.receive(request(filesystem, 'one', 'two'), pieces(increment)));
      expect(error.message).toMatch(/out of space/);
      expect(error.message).toContain('make room');
      expect(snapshotsOf(`${small.name}/copy`)).toEqual([`${small.name}/copy@one`]);
      run('rm', join(small.mountpoint, 'fill'));
      run('zpool', 'sync', small.name);
      const state = await sink.resumeState(filesystem);
      const rest = state === null ? increment : streamOf('rest', '-t', state.token);
      await sink.receive(request(filesystem, 'one', 'two', state !== null), pieces(rest));
      expect(snapshotContent(`${small.name}/copy@two`)).toEqual(snapshotContent(`${origin}@two`));
    } finally {
      small.destroy();
    }
  });

  test('a property that cannot be set does not go unheard, nor does it make the copy undone', async () => {
    const filesystem = place();
    const { notices } = await sinkOf({ properties: { override: { refquota: '1M' } } }).receive(
      request(filesystem, null, 'one'),
      pieces(streamOf('full', `${origin}@one`)),
    );
    expect(notices).toEqual([expect.stringContaining('refquota')]);
    expect(snapshotsOf(copyOf(filesystem))).toHaveLength(1);
  });

  test('a stream of a volume takes the place of a placeholder, and not that of one with children', async () => {
    const volume = `${source.name}/vol`;
    run('zfs', 'create', '-s', '-V', '4M', volume);
    run('udevadm', 'settle');
    run('dd', 'if=/dev/urandom', `of=/dev/zvol/${volume}`, 'bs=1M', 'count=1', 'conv=fsync', 'status=none');
    run('zfs', 'snapshot', `${volume}@one`);
    const [to] = await listVersions(zfsTool(), volume);
    const stream = streamOf('volume', `${volume}@one`);
    const sink = sinkOf();
    const parent = place();
    await sink.createParents([...parent, 'x', 'child']);
    const step = (filesystem: string[]) => ({ filesystem, from: null, to: to!, format: 'zfs', resumed: false });
    const error = await failure(sink.receive(step(parent), pieces(stream)));
    expect(error).toMatchObject({ code: 'INVALID_REQUEST' });
    expect(error.message).toContain(`${copyOf(parent)}/x`);
    expect((await sink.receive(step([...parent, 'x']), pieces(stream))).notices).toEqual([]);
    expect(valueOf('type', copyOf([...parent, 'x']))).toBe('volume');
    expect(valueOf('snapferry:placeholder', copyOf([...parent, 'x']))).toBe('on');
    expect(run('zfs', 'get', '-H', '-o', 'source', 'snapferry:placeholder', copyOf([...parent, 'x']))).toContain(
      'inherited',
    );
  });

  test('a placeholder is replaced in two goes, its child survives, and nothing of it is left', async () => {
    const sink = sinkOf();
    const filesystem = place();
    const copy = copyOf(filesystem);
    await sink.createParents([...filesystem, 'child']);
    await sink.receive(request([...filesystem, 'child'], null, 'one'), pieces(streamOf('full', `${origin}@one`)));
    const stream = readFileSync(streamFile('full'));
    await failure(sink.receive(request(filesystem, null, 'one'), pieces(stream.subarray(0, stream.length / 2))));
    expect(await sink.filesystemVersions(filesystem)).toBeNull();
    const { token } = (await sink.resumeState(filesystem))!;
    await sink.receive(request(filesystem, null, 'one', true), pieces(streamOf('rest', '-t', token)));
    expect(snapshotsOf(copy)).toHaveLength(1);
    expect(snapshotsOf(`${copy}/child`)).toHaveLength(1);
    const state = run(
      'zfs',
      'get',
      '-H',
      '-o',
      'property,value,source',
      'canmount,mountpoint,snapferry:placeholder',
      copy,
    );
    expect(state).toContain('canmount\tnoauto\tlocal');
    expect(state).toContain('snapferry:placeholder\t-\t-');
    expect(state).not.toContain('mountpoint\tnone\tlocal');
  });

  // The kernel gives a receive up at any signal, also at one that only stops the process.
  test('a zfs recv that was stopped has ended when it goes on; what it had is resumed', async () => {
    const filesystem = place();
    const stream = streamOf('full', `${origin}@one`);
    const log = join(target.directory, 'stopped');
    const tool = zfsTool({ argv: ['bash', '-c', `[ "$1" != recv ] || echo $$ > ${log}; exec zfs "$@"`, 'zfs'] });
    const stopping = async function* (): TransferBytes {
      yield stream.subarray(0, stream.length / 2);
      while (!existsSync(log)) await new Promise((resolve) => setTimeout(resolve, 20));
      const pid = Number(readFileSync(log, 'utf8'));
      process.kill(pid, 'SIGSTOP');
      setTimeout(() => process.kill(pid, 'SIGCONT'), 500);
      yield* pieces(stream.subarray(stream.length / 2));
    };
    const error = await failure(sinkOf({ tool }).receive(request(filesystem, null, 'one'), stopping()));
    expect(error.message).toContain('Partially received snapshot is saved');
    const { token } = (await sinkOf().resumeState(filesystem))!;
    const rest = streamOf('rest', '-t', token);
    expect(rest.length).toBeLessThan(stream.length);
    await sinkOf().receive(request(filesystem, null, 'one', true), pieces(rest));
    expect(snapshotContent(`${copyOf(filesystem)}@one`)).toEqual(snapshotContent(`${origin}@one`));
  });

  test('a copy in the middle of a receive can itself be sent on, as far as it is whole', async () => {
    const filesystem = place();
    const sink = sinkOf();
    await sink.receive(request(filesystem, null, 'one'), pieces(streamOf('full', `${origin}@one`)));
    const increment = streamOf('inc', '-i', '@one', `${origin}@two`);
    await failure(sink.receive(request(filesystem, 'one', 'two'), pieces(increment.subarray(0, increment.length / 2))));
    expect(await sink.resumeState(filesystem)).not.toBeNull();
    const onwards = place();
    const whole = streamOf('onwards', `${copyOf(filesystem)}@one`);
    await sink.receive(request(onwards, null, 'one'), pieces(whole));
    expect(snapshotContent(`${copyOf(onwards)}@one`)).toEqual(snapshotContent(`${origin}@one`));
  });

  test('a killed zfs recv leaves what it had', async () => {
    const filesystem = place();
    const stream = streamOf('full', `${origin}@one`);
    const log = join(target.directory, 'pid');
    writeFileSync(log, '');
    const tool = zfsTool({ argv: ['bash', '-c', `[ "$1" != recv ] || echo $$ > ${log}; exec zfs "$@"`, 'zfs'] });
    const killing = async function* (): TransferBytes {
      yield stream.subarray(0, stream.length / 2);
      while (readFileSync(log, 'utf8') === '' || valueOf('written', copyOf(filesystem)) === '0') {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      run('kill', '-KILL', readFileSync(log, 'utf8').trim());
      // A source that has nothing to say for now: the receiver's death must be noticed all the same.
      await new Promise(() => undefined);
    };
    const error = await failure(sinkOf({ tool }).receive(request(filesystem, null, 'one'), killing()));
    expect(error.message).toContain('SIGKILL');
    expect(await sinkOf().filesystemVersions(filesystem)).toBeNull();
    expect(await sinkOf().resumeState(filesystem)).not.toBeNull();
  });
});
