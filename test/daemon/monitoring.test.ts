import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { NoticeDocument } from '../../src/daemon/notify/notice.ts';
import { runProgram, startProgram } from '../support/run-program.ts';
import type { StartedProgram } from '../support/run-program.ts';

let directory: string;
let hook: Server;
let told: NoticeDocument[];
let running: StartedProgram | null = null;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-monitoring-'));
  told = [];
  hook = createServer((request, response) => {
    void (async () => {
      let text = '';
      for await (const piece of request.setEncoding('utf8')) text += String(piece);
      told.push(JSON.parse(text) as NoticeDocument);
      response.end();
      hook.emit('told');
    })();
  });
  hook.listen(0, '127.0.0.1');
  await once(hook, 'listening');
});

afterEach(async () => {
  running?.kill('SIGKILL');
  await running?.ended;
  running = null;
  hook.closeAllConnections();
  hook.close();
  await rm(directory, { recursive: true });
});

async function toldTimes(count: number): Promise<void> {
  while (told.length < count) await once(hook, 'told');
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const path = (name: string): string => join(directory, name);

async function configure(metricsPort: number): Promise<void> {
  const { port } = hook.address() as AddressInfo;
  await mkdir(path('copies'));
  await writeFile(
    path('snapferry.yml'),
    `
global:
  logging: [{ type: stderr, format: json, level: info }]
  monitoring: [{ type: prometheus, listen: 127.0.0.1:${metricsPort} }]
  control: { sockpath: ${path('run/control')} }
  serve: { stdinserver: { sockdir: ${path('run/stdinserver')} } }
  state_dir: ${path('state')}
  notifications:
    - { type: webhook, url: 'http://127.0.0.1:${port}/s3cr3t' }
jobs:
  - name: copy
    type: local
    backend: directory
    filesystems: { '${path('data')}': true }
    root_fs: ${path('copies')}
    interval: manual
    stale_after: 1d
    snapshotting: { type: periodic, interval: 1h, prefix: t_ }
    pruning: { keep_receiver: [{ type: last_n, count: 9 }], keep_sender: [{ type: last_n, count: 9 }] }
`,
  );
}

async function startDaemon(): Promise<StartedProgram> {
  running = await startProgram(['daemon', '--config', path('snapferry.yml')]);
  await running.saidOnStderr('metrics are served on');
  await running.saidOnStderr(' runs ');
  return running;
}

async function wake(): Promise<void> {
  const { code, stderr } = await runProgram(['signal', '--config', path('snapferry.yml'), 'copy', 'wakeup']);
  expect(code, stderr).toBe(0);
}

test('a real daemon tells of a failure once, across kill -9, and of its end, and shows both in its metrics', async () => {
  const port = await freePort();
  await configure(port);
  const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();

  const first = await startDaemon();
  await wake();
  await toldTimes(1);
  expect(told[0]).toMatchObject({ version: 1, event: 'failure', job: 'copy', reminder: false });
  expect(told[0]!.troubles).toHaveLength(1);
  expect(told[0]!.troubles[0]!.advice).not.toBeNull();
  expect(await metrics()).toMatch(/^snapferry_job_last_run_failed\{snapferry_job="copy"\} 1$/m);
  expect(await metrics()).toMatch(/^snapferry_runs_total\{snapferry_job="copy",outcome="failed"\} [12]$/m);
  await first.saidOnStderr('told of failure of job copy by webhook');
  first.kill('SIGKILL');
  const { stderr } = await first.ended;
  expect(stderr).not.toContain('s3cr3t');

  await mkdir(path('data'));
  await writeFile(path('data/file'), 'content');
  const second = await startDaemon();
  await wake();
  await toldTimes(2);
  expect(told[1]).toMatchObject({ event: 'recovery', job: 'copy', troubles_remaining: 0 });
  expect(await metrics()).toMatch(/^snapferry_job_last_run_failed\{snapferry_job="copy"\} 0$/m);
  expect(await metrics()).toMatch(/^snapferry_snapshots_replicated_total\{snapferry_job="copy"\} 1$/m);
  expect(await metrics()).toMatch(/^snapferry_dataset_newest_snapshot_age_seconds\{.*data"\} \d/m);
  second.kill('SIGTERM');
  expect((await second.ended).code).toBe(0);
  expect(told.map(({ event }) => event)).toEqual(['failure', 'recovery']);
});
