import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readConfiguration } from '../../src/config/load-configuration.ts';
import { controlCommands } from '../../src/daemon/control-commands.ts';
import { controlPair } from '../../src/daemon/control/control-pair.ts';
import { Daemon } from '../../src/daemon/daemon.ts';
import { DaemonLog } from '../../src/daemon/daemon-log.ts';
import type { DaemonStatus } from '../../src/daemon/daemon-status.ts';
import { readHistory } from '../../src/daemon/read-history.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { FakeClock, settled } from '../support/fake-clock.ts';
import { runResult } from '../support/job-results.ts';
import { pullText } from '../support/job-settings.ts';
import { ScriptedJob } from '../support/scripted-job.ts';

let stateDir: string;
let daemon: Daemon;
let log: DaemonLog;
let job: ScriptedJob;
let text: string;
const clock = new FakeClock();

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'snapferry-commands-'));
  text = pullText('web1', 'interval: manual');
  log = new DaemonLog({
    settings: { level: 'debug', format: 'json', time: null, color: null },
    out: { write: () => undefined },
  });
  daemon = await Daemon.start({
    load: () => readConfiguration(`global: { state_dir: ${stateDir} }\njobs:${text}`, '/etc/snapferry/test.yml'),
    clock,
    version: '1.2.3',
    logger: log.logger,
    createJob: (settings, dependencies) => (job = new ScriptedJob(settings, clock, dependencies)),
  });
});
afterEach(async () => {
  await daemon.stop(0);
  rmSync(stateDir, { recursive: true, force: true });
});

async function pair() {
  const { client, server } = await controlPair({
    version: '1.2.3',
    commands: controlCommands({ daemon, tail: log.tail }),
  });
  return {
    client,
    async [Symbol.asyncDispose]() {
      await client.close();
      await server.close();
    },
  };
}

/** The lines of a stream as JSON, one by one. */
async function* linesOf(stream: ByteStream): AsyncGenerator {
  let rest = '';
  for await (const piece of stream.source) {
    rest += Buffer.from(piece).toString();
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield JSON.parse(line);
  }
}

describe('jobs', () => {
  test('are woken, cancelled and reset', async () => {
    await using ends = await pair();
    const { client } = ends;
    expect(await client.call('wakeup', { job: 'web1' })).toEqual({ job: 'web1', result: 'begun' });
    expect(await client.call('wakeup', { job: 'web1' })).toEqual({ job: 'web1', result: 'remembered' });
    expect(await client.call('reset', { job: 'web1' })).toEqual({ job: 'web1', result: 'begun' });
    expect(job.runs).toHaveLength(2);
    expect(await client.call('cancel', { job: 'web1' })).toEqual({ job: 'web1', result: 'cancelled' });
    expect(await client.call('cancel', { job: 'web1' })).toEqual({ job: 'web1', result: 'idle' });
    await expect(client.call('wakeup', { job: 'web2' })).rejects.toThrow('there is no job "web2"');
    await expect(client.call('wakeup', { jbo: 'web1' })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });
});

describe('a run of another process', () => {
  test('is part of history and status', async () => {
    await using ends = await pair();
    const { client } = ends;
    const result = runResult('elsewhere', clock.nowMs(), { cause: 'once' });
    expect(await client.call('ran', { result })).toEqual(null);
    const [status] = daemon.status().jobs;
    expect(status).toMatchObject({ lastRun: { run: 'elsewhere' }, lastSuccessMs: result.endedMs, runs: [] });
    await expect(client.call('ran', { result: { ...result, job: 'web2' } })).rejects.toThrow('there is no job "web2"');
    await expect(client.call('ran', { result: { ...result, endedMs: 'now' } })).rejects.toThrow('endedMs');
    await daemon.stop(0);
    const { fold } = await readHistory(stateDir);
    expect(fold.jobs.get('web1')?.lastRun).toMatchObject({ run: 'elsewhere', outcome: 'ok' });
  });
});

describe('a reload', () => {
  test('says what has changed, or why it was refused', async () => {
    await using ends = await pair();
    const { client } = ends;
    text += pullText('web2');
    expect(await client.call('reload')).toMatchObject({ added: ['web2'], unchanged: ['web1'] });
    text = pullText('web1', 'intervall: 1h');
    const refused = await client.attempt('reload');
    expect(refused).toMatchObject({
      kind: 'refused',
      code: 'CONFIGURATION',
      message: expect.stringContaining('intervall') as string,
    });
    expect(((await client.call('status')) as DaemonStatus).configuration.reloadError).toContain('intervall');
  });
});

describe('the status', () => {
  test('is told once', async () => {
    await using ends = await pair();
    expect(await ends.client.call('status')).toEqual(JSON.parse(JSON.stringify(daemon.status())));
    expect(await ends.client.call('version')).toMatchObject({ version: '1.2.3', pid: process.pid });
  });

  test('is told whenever there is news, until the client leaves', async () => {
    await using ends = await pair();
    await ends.client.call('status', { follow: true });
    const stream = ends.client.detach();
    const statuses = linesOf(stream) as AsyncGenerator<DaemonStatus>;
    expect((await statuses.next()).value).toMatchObject({ jobs: [{ state: 'idle' }] });
    daemon.wakeup('web1');
    for await (const { jobs } of statuses) if (jobs[0]?.run !== null) break;
    await stream.close();
  });

  test('a daemon that stops ends what follows it', async () => {
    await using ends = await pair();
    await ends.client.call('status', { follow: true });
    const stream = ends.client.detach();
    const stopped = daemon.stop();
    let count = 0;
    for await (const status of linesOf(stream)) count += status === null ? 0 : 1;
    expect(count).toBeGreaterThan(0);
    await stopped;
    await stream.close();
  });
});

describe('the log', () => {
  test('gives the last lines, of one job or level if asked', async () => {
    const { logger } = log;
    for (let index = 0; index < 5; index++) logger.info({ job: 'web1' }, `line ${index}`);
    logger.debug({ job: 'web1' }, 'detail');
    logger.error({ job: 'web2' }, 'other');
    const texts = async (opts: object): Promise<unknown[]> => {
      await using ends = await pair();
      await ends.client.call('log', opts);
      const stream = ends.client.detach();
      const found: unknown[] = [];
      for await (const line of linesOf(stream)) found.push((line as { msg: string }).msg);
      await stream.close();
      return found;
    };
    expect(await texts({ lines: 3 })).toEqual(['line 4', 'detail', 'other']);
    expect(await texts({ lines: 2, job: 'web1' })).toEqual(['line 4', 'detail']);
    expect(await texts({ lines: 2, level: 'info', job: 'web1' })).toEqual(['line 3', 'line 4']);
    expect(await texts({ lines: 0 })).toEqual([]);
  });

  test('goes on as it is written, without a gap', async () => {
    const { logger } = log;
    logger.info({ job: 'web9' }, 'before');
    await using ends = await pair();
    await ends.client.call('log', { follow: true, lines: 1, job: 'web9' });
    const stream = ends.client.detach();
    const lines = linesOf(stream);
    const next = async () => ((await lines.next()) as IteratorYieldResult<{ readonly msg: string }>).value.msg;
    expect(await next()).toBe('before');
    for (let index = 0; index < 100; index++) {
      logger.info({ job: 'web9' }, `after ${index}`);
      if (index % 10 === 0) await settled();
    }
    for (let index = 0; index < 100; index++) expect(await next()).toBe(`after ${index}`);
    await stream.close();
  });
});
