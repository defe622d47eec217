import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import pc from 'picocolors';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { certificateCheck } from '../../src/cli/doctor/check-certificate.ts';
import { clockCheck } from '../../src/cli/doctor/check-clock.ts';
import { examineDaemon } from '../../src/cli/doctor/check-daemon.ts';
import { divergenceCheck } from '../../src/cli/doctor/check-divergence.ts';
import { holdersOf } from '../../src/cli/doctor/check-lock.ts';
import { peerCheck } from '../../src/cli/doctor/check-peer.ts';
import { permissionCheck } from '../../src/cli/doctor/check-permission.ts';
import { storeCheck } from '../../src/cli/doctor/check-store.ts';
import { troubleCheck } from '../../src/cli/doctor/check-trouble.ts';
import { doctorChecks } from '../../src/cli/doctor/checks.ts';
import { examine } from '../../src/cli/doctor/examine.ts';
import { advice, cure } from '../../src/cli/doctor/finding.ts';
import type { Finding } from '../../src/cli/doctor/finding.ts';
import type { Machine, Patient, SeenError } from '../../src/cli/doctor/patient.ts';
import { renderExamination } from '../../src/cli/doctor/render-examination.ts';
import { paintLine } from '../../src/cli/status-lines.ts';
import type { Job } from '../../src/config/job.ts';
import { errorCodes, SnapferryError } from '../../src/errors.ts';
import { makeAuthority, opensslMissing } from '../support/certificates.ts';
import { beganMs, daemonStatus, datasetStatus, jobStatus, problem, runResult } from '../support/daemon-fixture.ts';
import { jobOf } from '../support/job-settings.ts';

let work: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'snapferry-doctor-checks-'));
});
afterAll(() => rm(work, { recursive: true, force: true }));

function machine(more: Partial<Machine> = {}): Machine {
  return {
    seen: null,
    stateDir: work,
    jobNames: ['web1'],
    tools: { zfs: ['sudo', '-n', 'zfs'], btrfs: ['btrfs'] },
    user: { name: 'backup', isRoot: false },
    readLocks: () => Promise.resolve(''),
    nowMs: beganMs,
    logger: pino({ level: 'silent' }),
    signal: new AbortController().signal,
    ...more,
  };
}

function patient(job: Job | null, more: Partial<Patient> = {}): Patient {
  return { name: 'web1', job, status: jobStatus(), places: [], errors: [], copies: [], machine: machine(), ...more };
}

function pull(connect = 'type: ssh+stdinserver, host: vault, user: snap, port: 2222', more = 'backend: zfs'): Job {
  return jobOf(`
  - name: web1
    type: pull
    ${more}
    connect: { ${connect} }
    root_fs: ${more.includes('zfs') ? 'backup/web1' : '/backup/web1'}
    interval: 1h
    pruning: { keep_receiver: [{ type: last_n, count: 1 }] }
`);
}

const error = (code: string, message: string, more: Partial<SeenError> = {}): SeenError => {
  return { code, message, dataset: null, target: null, when: 'now', ...more };
};
const commands = (findings: readonly Finding[]) => findings.flatMap(({ cures }) => cures.map(({ command }) => command));
const text = ({ cures }: Finding) => cures.map(({ what }) => what).join('\n');

describe('peer', () => {
  const look = (message: string, job = pull(), code = 'CONNECT_FAILED'): Finding[] => [
    ...(peerCheck.examine(patient(job, { errors: [error(code, message)] })) as Finding[]),
  ];

  test.each([
    ['Host key verification failed.', 'ssh-keyscan -p 2222 vault'],
    ['WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!', 'ssh-keygen -R vault'],
    ['snap@vault: Permission denied (publickey).', 'ssh-keygen -y -f ~/.ssh/id_ed25519'],
    ['ssh: Could not resolve hostname vault: Name or service not known', 'getent hosts vault'],
    ['sh: 1: snapferry: not found', 'npm install -g snapferry'],
    ['Connection refused', "ssh -v -o 'BatchMode=yes' -T -p 2222 snap@vault"],
  ])('ssh says %s', (message, command) => {
    const [finding] = look(message);
    expect(finding).toMatchObject({ check: 'peer', severity: 'problem', subject: 'web1' });
    expect(finding!.message).toContain(message);
    expect(commands([finding!])[0]).toBe(command);
  });

  test.each([
    ['type: tcp, address: "vault:8888"', 'nc -zv vault 8888'],
    ['type: unix, path: /run/x.sock', 'ss -lxp src /run/x.sock'],
    ['type: command, command: [nc, "a b"]', "nc 'a b'"],
    [
      'type: tls, address: "[fd00::1]:8888", server_cn: vault, ca: /ca, cert: /c, key: /k',
      "openssl s_client -connect '[fd00::1]:8888' -servername vault -CAfile /ca -cert /c -key /k",
    ],
  ])('%s', (connect, command) => {
    expect(commands(look('ECONNREFUSED', pull(connect)))[0]).toBe(command);
  });

  test('was lost, and is there again', () => {
    const errors = [error('CONNECTION_LOST', 'reset by peer', { when: 'earlier' })];
    const [finding] = peerCheck.examine(patient(pull(), { errors })) as Finding[];
    expect(finding!.message).toContain('can be reached now');
    expect(commands([finding!])).toEqual(['snapferry signal web1 wakeup']);
  });

  test('other errors are not of it', () => {
    expect(look('no', pull(), 'CONFLICT')).toEqual([]);
  });
});

describe('divergence', () => {
  const conflict =
    'tank/a: source and target have gone separate ways since their newest common version @auto_7.\n  more';
  const seen = (message: string) => error('CONFLICT', message, { dataset: 'tank/a', target: 'backup/web1/tank/a' });

  test('of ZFS: look, give up what is only here, or keep it aside', () => {
    const findings = divergenceCheck.examine(patient(pull(), { errors: [seen(conflict)] })) as Finding[];
    expect(findings).toMatchObject([{ check: 'divergence', subject: 'tank/a', message: conflict }]);
    expect(commands(findings)).toEqual([
      'snapferry list zfs:backup/web1/tank/a',
      'sudo -n zfs rollback -r backup/web1/tank/a@auto_7',
      'sudo -n zfs rename backup/web1/tank/a backup/web1/tank/a-before-2026-11-21',
      'snapferry signal web1 wakeup',
    ]);
  });

  test('with nothing in common there is nothing to roll back to', () => {
    const findings = divergenceCheck.examine(patient(pull(), { errors: [seen('none in common')] })) as Finding[];
    expect(commands(findings).join('\n')).not.toContain('rollback');
  });

  test('of a push the copy is on the other machine', () => {
    const push = jobOf(`
  - name: web1
    type: push
    backend: directory
    connect: { type: tcp, address: "vault:8888" }
    filesystems: { /srv: true }
    snapshotting: { type: manual }
    interval: 1h
`);
    const errors = [error('CONFLICT', conflict, { dataset: '/srv', target: "/backup/it's here" })];
    const [finding] = divergenceCheck.examine(patient(push, { errors })) as Finding[];
    expect(finding!.cures[1]).toEqual({
      what: 'keep the copy as it is, out of the way',
      command: String.raw`mv --no-target-directory '/backup/it'\''s here' '/backup/it'\''s here-before-2026-11-21'`,
      host: 'vault',
    });
  });
});

describe('permission', () => {
  test('ZFS has rights to be delegated', async () => {
    const errors = [error('ACCESS_DENIED', 'cannot receive: permission denied', { dataset: 'tank/a' })];
    const places = [{ backend: 'zfs', path: 'backup/web1', role: 'target', isRecursive: true }] as const;
    const [finding] = await permissionCheck.examine(patient(pull(), { errors, places }));
    expect(commands([finding!])).toEqual([
      'zfs allow -u backup receive,create,mount,canmount,mountpoint,readonly,userprop,hold,release backup/web1',
    ]);
  });

  test('sudo that asks for a password', async () => {
    const errors = [error('SOURCE_FAILED', 'sudo: a password is required')];
    const [finding] = await permissionCheck.examine(patient(pull(), { errors }));
    expect(commands([finding!])[0]).toBe('visudo -f /etc/sudoers.d/snapferry');
    expect(text(finding!)).toContain('backup ALL=(root) NOPASSWD: /usr/sbin/zfs');
  });

  test('btrfs needs root', async () => {
    const btrfs = pull('type: unix, path: /x', 'backend: btrfs');
    const errors = [error('SOURCE_FAILED', 'ERROR: Operation not permitted')];
    const [finding] = await permissionCheck.examine(patient(btrfs, { errors }));
    expect(text(finding!)).toContain('[sudo, -n, btrfs]');
  });

  test('a key that ssh does not take is none of it', async () => {
    const errors = [error('CONNECT_FAILED', 'Permission denied (publickey)')];
    expect(await permissionCheck.examine(patient(pull(), { errors }))).toEqual([]);
  });
});

describe('clock', () => {
  const minute = 60_000;

  test('of this machine was set back', async () => {
    const status = jobStatus({ lastRun: runResult({ endedMs: beganMs + 90 * minute }) });
    const [finding] = await clockCheck.examine(patient(pull(), { status }));
    expect(finding!.message).toContain('90 min from now (2026-11-21T13:30:00.000Z)');
    expect(commands([finding!])[0]).toBe('timedatectl set-ntp true');
  });

  test('of the other machine is ahead', async () => {
    const newest = { name: 'auto_9', guid: '9', creation: new Date(beganMs + 30 * minute).toISOString() };
    const status = jobStatus({ datasets: [datasetStatus({ newest })] });
    const [finding] = await clockCheck.examine(patient(pull(), { status }));
    expect(finding).toMatchObject({ subject: 'tank/data', cures: [{ host: 'vault' }, { host: 'vault' }] });
    expect(finding!.message).toContain(
      'auto_9 says it was made at 2026-11-21T12:30:00.000Z, 30 min after it was seen here',
    );
  });

  test('is right, or not known', async () => {
    const newest = { name: 'auto_9', guid: '9', creation: '' };
    const datasets = [datasetStatus(), datasetStatus({ newest }), datasetStatus({ newest: null })];
    const status = jobStatus({ lastRun: runResult({ endedMs: beganMs }), datasets });
    expect(await clockCheck.examine(patient(pull(), { status }))).toEqual([]);
    expect(await clockCheck.examine(patient(null, { status: null }))).toEqual([]);
  });
});

describe.skipIf(opensslMissing !== null)('certificate', () => {
  test('expired, about to, sound, and none', async () => {
    const authority = await makeAuthority();
    const { cert, key } = await authority.issue('/CN=web1', undefined, 10);
    const path = (name: string) => join(work, name);
    await Promise.all([
      writeFile(path('ca.pem'), authority.cert),
      writeFile(path('cert.pem'), cert),
      writeFile(path('key.pem'), key),
    ]);
    await authority.remove();
    const files = `ca: ${path('ca.pem')}, cert: ${path('cert.pem')}, key: ${path('key.pem')}`;
    const job = pull(`type: tls, address: "vault:1", server_cn: vault, ${files}`);
    const day = 24 * 3_600_000;
    const at = (nowMs: number) => certificateCheck.examine(patient(job, { machine: machine({ nowMs }) }));
    const soon = await at(Date.now() + 2 * day);
    expect(soon).toMatchObject([
      {
        severity: 'notice',
        subject: path('cert.pem'),
        message: expect.stringContaining('expires in 7 days') as string,
      },
      { severity: 'notice', subject: path('ca.pem') },
    ]);
    const [expired] = await at(Date.now() + 11 * day);
    expect(expired).toMatchObject({ severity: 'problem', message: expect.stringContaining('has expired') as string });
    const [early] = await at(Date.now() - day);
    expect(early).toMatchObject({
      severity: 'problem',
      message: expect.stringContaining('is the clock right') as string,
    });
    await writeFile(path('cert.pem'), 'no certificate');
    const [broken] = await at(Date.now());
    expect(broken).toMatchObject({ severity: 'problem', message: expect.stringContaining('cannot be read') as string });
    expect(await certificateCheck.examine(patient(pull()))).toEqual([]);
  });
});

describe('lock', () => {
  test('holders are read from what the kernel says', () => {
    const lines = `1: FLOCK  ADVISORY  WRITE 385 fe:00:2148039 0 EOF
1: -> FLOCK  ADVISORY  WRITE 999 fe:00:2148039 0 EOF
2: POSIX  ADVISORY  WRITE 5 fe:00:17 0 EOF
3: FLOCK  ADVISORY  READ 6 fe:00:18 0 EOF
4: FLOCK  ADVISORY  WRITE -1 00:2e:19 0 EOF
`;
    expect([...holdersOf(lines)]).toEqual([
      [2148039, 385],
      [19, -1],
    ]);
    expect(holdersOf('')).toEqual(new Map());
  });
});

describe('store', () => {
  test('a target that was used and is gone: its disk is not mounted', async () => {
    const place = { backend: 'directory', path: join(work, 'gone/web1'), role: 'target', isRecursive: true } as const;
    const job = pull('type: unix, path: /x', 'backend: directory');
    const used = jobStatus({ lastSuccessMs: beganMs });
    const [finding] = await storeCheck.examine(patient(job, { places: [place], status: used }));
    expect(finding!.message).toContain('is its disk mounted?');
    expect(commands([finding!])).toEqual([`findmnt --target ${join(work, 'gone')}`, 'mount -a']);
    // The first run makes it.
    expect(await storeCheck.examine(patient(job, { places: [place] }))).toEqual([]);
    const source = { ...place, role: 'source' } as const;
    expect(await storeCheck.examine(patient(job, { places: [source] }))).toMatchObject([
      { message: 'it is not there' },
    ]);
  });
});

describe('trouble', () => {
  test('no error is left without an explanation', async () => {
    for (const code of [...errorCodes, 'CONFLICT', 'OF_THE_FUTURE']) {
      const errors = [error(code, 'went wrong', { dataset: 'tank/a', target: 'backup/web1/tank/a' })];
      const checks = doctorChecks.filter(({ name }) => ['peer', 'permission', 'divergence', 'trouble'].includes(name));
      const { findings } = await examine(patient(pull(), { errors }), checks);
      const isOfToken = ['RESUME_TOKEN_INVALID', 'VERSION_NOT_FOUND', 'STREAM_FORMAT_MISMATCH'].includes(code);
      if (isOfToken) continue;
      expect(findings.length, code).toBe(1);
      expect(findings[0]!.cures.length, code).toBeGreaterThan(0);
    }
  });

  test('a program that is not there is to be installed', () => {
    const errors = [error('SOURCE_FAILED', 'cannot run "zfs list": the program "zfs" is not on the PATH')];
    const findings = troubleCheck.examine(patient(pull(), { errors })) as Finding[];
    expect(commands(findings)).toEqual(['apt-get install zfsutils-linux']);
  });

  test('what is stale has a next step', () => {
    const status = jobStatus({ problems: [problem()] });
    const [finding] = troubleCheck.examine(patient(pull(), { status })) as Finding[];
    expect(finding).toMatchObject({ check: 'stale', subject: 'tank/data' });
    expect(commands([finding!])).toEqual(['snapferry signal web1 wakeup']);
  });
});

describe('the daemon', () => {
  const running = { ...daemonStatus([]), daemon: { isRunning: true, reason: null }, notices: [] };

  test('is well', async () => {
    expect(await examineDaemon(machine({ seen: { ...running, pid: process.pid } }))).toEqual([]);
  });

  test('does not run', async () => {
    const seen = { ...running, pid: null, daemon: { isRunning: false, reason: 'no such socket' } };
    const findings = await examineDaemon(machine({ seen }));
    expect(findings).toMatchObject([{ severity: 'problem', message: 'no daemon runs: no such socket' }]);
    expect(commands(findings)[0]).toBe('systemctl start snapferry');
  });

  test('runs and does not answer', async () => {
    const seen = { ...running, pid: null, daemon: { isRunning: false, reason: 'said nothing' } };
    const file = join(work, 'daemon.lock');
    await writeFile(file, '{"pid":4711,"since":"2026-11-21T00:00:00Z"}\n');
    const { stat } = await import('node:fs/promises');
    const { ino } = await stat(file);
    const readLocks = () => Promise.resolve(`1: FLOCK  ADVISORY  WRITE 4712 fe:00:${ino} 0 EOF\n`);
    const findings = await examineDaemon(machine({ seen, readLocks }));
    expect(findings).toMatchObject([{ message: 'process 4711 is a daemon that does not answer: said nothing' }]);
    expect(commands(findings)).toEqual(['systemctl restart snapferry', 'kill 4711']);
    expect(await readFile(file, 'utf8')).toContain('4711');
  });

  test('goes on with an older configuration', async () => {
    const configuration = { file: '/etc/s.yml', loadedMs: 0, reloadError: 's.yml:3: unknown key' };
    const findings = await examineDaemon(machine({ seen: { ...running, pid: process.pid, configuration } }));
    expect(commands(findings)).toEqual(['snapferry configcheck --config /etc/s.yml', 'snapferry reload']);
  });
});

describe('an examination', () => {
  const found: Finding = { check: 'x', severity: 'notice', subject: 'web1', message: 'odd', cures: [] };

  test('says it once, problems first', async () => {
    const worse: Finding = { ...found, severity: 'problem', message: 'bad' };
    const checks = [
      { name: 'a', examine: () => [found] },
      { name: 'b', examine: () => [found, worse] },
    ];
    expect((await examine(patient(pull()), checks)).findings).toEqual([worse, found]);
  });

  test('goes on where a check cannot', async () => {
    const fails = { name: 'a', examine: () => Promise.reject(new SnapferryError('SOURCE_FAILED', 'no zfs here')) };
    const { findings } = await examine(patient(pull()), [fails, { name: 'b', examine: () => [found] }]);
    expect(findings).toMatchObject([
      { check: 'a', message: 'this could not be looked at: no zfs here' },
      { check: 'x' },
    ]);
  });

  test('ends when it is told to', async () => {
    const controller = new AbortController();
    controller.abort(new SnapferryError('CANCELLED', 'enough'));
    const stopped = patient(pull(), { machine: machine({ signal: controller.signal }) });
    await expect(examine(stopped)).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  test('for people', () => {
    const cures = [cure('see it', ['ls', '-l', 'a b']), { ...advice('think'), host: 'vault' }];
    const finding: Finding = { check: 'store', severity: 'problem', subject: '/b\u001b', message: 'one\ntwo', cures };
    const lines = renderExamination({ name: 'web1', what: 'pull zfs', findings: [finding] });
    expect(lines.map((line) => paintLine(line, pc.createColors(false)))).toEqual([
      'web1  pull zfs',
      '  problem /b\\x1b: one [store]',
      '      two',
      '    see it:',
      "      ls -l 'a b'",
      '    on vault: think',
    ]);
    const well = renderExamination({ name: 'web1', what: '', findings: [] });
    expect(well.map((line) => paintLine(line, pc.createColors(false)))).toEqual(['web1  nothing is wrong']);
  });
});
