import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemdManager } from '../../src/daemon/service-manager.ts';
import { FakeClock } from '../support/fake-clock.ts';

// Node has no datagram sockets of the unix kind, so python is systemd here: it prints each datagram as one line of JSON.
const receiver = `
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("ready", flush=True)
while True:
    print(json.dumps(s.recv(4096).decode()), flush=True)
`;

let directory: string;
let socket: string;
let child: ChildProcess;
let text = '';
const clock = new FakeClock();
const warnings: string[] = [];
const logger = pino({ base: null }, { write: (line) => void warnings.push(line) });

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'snapferry-notify-'));
  socket = join(directory, 'notify');
  text = '';
  warnings.length = 0;
  child = spawn('python3', ['-c', receiver, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout!.setEncoding('utf8').on('data', (piece: string) => (text += piece));
  await once(child.stdout!, 'data');
});
afterEach(async () => {
  const exited = once(child, 'exit');
  child.kill();
  await exited;
  rmSync(directory, { recursive: true, force: true });
});

/** Everything told, by field; what only makes sure that it was received is left out. */
function told(): string[] {
  const datagrams = text.split('\n').filter((line) => line.startsWith('"'));
  return datagrams
    .flatMap((line) => (JSON.parse(line) as string).split('\n'))
    .filter((field) => /^[A-Z_]+=/.test(field) && !field.startsWith('BARRIER'));
}

function manager(env: NodeJS.ProcessEnv = {}) {
  return systemdManager({ clock, logger, env: { NOTIFY_SOCKET: socket, ...env }, pid: 42 })!;
}

describe('systemd', () => {
  test('is not there unless it says so', () => {
    expect(systemdManager({ clock, logger, env: {} })).toBeNull();
    expect(systemdManager({ clock, logger, env: { NOTIFY_SOCKET: '' } })).toBeNull();
  });

  test('is told what becomes of the daemon, in order', async () => {
    const own = manager();
    await own.ready('2 jobs\nall well');
    await own.reloading();
    await own.ready('3 jobs');
    own.status('lost');
    own.status('running: web1');
    await own.stopping('waiting');
    await own.close();
    await own.ready('after the end');
    expect(warnings).toEqual([]);
    expect(told().map((field) => field.replace(/^(MONOTONIC_USEC=)\d+$/, '$1'))).toEqual([
      ...['READY=1', 'STATUS=2 jobs all well', 'RELOADING=1', 'MONOTONIC_USEC=', 'READY=1', 'STATUS=3 jobs'],
      ...['STATUS=running: web1', 'STOPPING=1', 'STATUS=waiting'],
    ]);
  });

  test('hears from us twice as often as its watchdog wants, if it is meant for us', async () => {
    const own = manager({ WATCHDOG_USEC: '20000000', WATCHDOG_PID: '42' });
    await own.ready('');
    await clock.pass(35_000);
    await own.close();
    expect(clock.waiting).toBe(0);
    expect(told().filter((field) => field === 'WATCHDOG=1')).toHaveLength(3);
    const others = manager({ WATCHDOG_USEC: '20000000', WATCHDOG_PID: '43' });
    await others.ready('');
    expect(clock.waiting).toBe(0);
    await others.close();
  });

  test('that cannot be told is a warning, and no more', async () => {
    const own = systemdManager({ clock, logger, env: { NOTIFY_SOCKET: join(directory, 'nobody') } })!;
    await own.ready('');
    await own.close();
    expect(warnings).toEqual([expect.stringContaining('systemd could not be told READY=1')]);
  });
});
