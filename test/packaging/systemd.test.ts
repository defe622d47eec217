import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { globalSettings } from '../../src/config/global-schemas.ts';
import { createProgram } from '../../src/cli/program.ts';
import { describePlatform, missingPrograms } from '../support/platform.ts';

const packaging = join(import.meta.dirname, '../../packaging');
const units = join(packaging, 'systemd');
const read = (path: string): Promise<string> => readFile(join(packaging, path), 'utf8');

/** The values of a key of a unit, in order. */
function valuesOf(unit: string, key: string): readonly string[] {
  return [...unit.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value]) => value!);
}

describe('the units fit the program', () => {
  test.each(['system', 'user'])('%s: what is started and reloaded are commands with these options', async (kind) => {
    const unit = await read(`systemd/${kind}/snapferry.service`);
    const program = await createProgram();
    const lines = [...valuesOf(unit, 'ExecStart'), ...valuesOf(unit, 'ExecReload')];
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      const [path, name, ...args] = line.split(' ');
      expect(path).toBe('/usr/bin/snapferry');
      const command = program.commands.find((one) => one.name() === name);
      expect(command, line).toBeDefined();
      for (const option of args.filter((word) => word.startsWith('--'))) {
        expect(command!.options.map(({ long }) => long)).toContain(option);
      }
    }
  });

  test('directories and limits are those of an empty configuration', async () => {
    const settings = globalSettings.parse({});
    const unit = await read('systemd/system/snapferry.service');
    const runtime = valuesOf(unit, 'RuntimeDirectory')[0]!
      .split(' ')
      .map((name) => `/run/${name}`);
    expect(runtime).toContain(settings.serve.stdinserverSockdir);
    expect(runtime).toContain(join(settings.control.sockpath, '..'));
    expect(`/var/lib/${valuesOf(unit, 'StateDirectory')[0]!}`).toBe(settings.stateDir);
    expect(valuesOf(unit, 'TimeoutStopSec')).toEqual(['2min']);
    expect(settings.shutdownMsMax).toBeLessThanOrEqual(60_000);
  });

  test.each(['sink', 'metrics'])('the socket %s has the name that its comment says', async (name) => {
    const unit = await read(`systemd/system/snapferry-${name}.socket`);
    expect(valuesOf(unit, 'FileDescriptorName')).toEqual([name]);
    expect(unit).toContain(`listen: systemd:${name}\n`);
  });
});

const missing = missingPrograms(['systemd-analyze'], 'systemd');

describePlatform('what systemd says', missing, () => {
  let root: string;
  const run = promisify(execFile);
  const analyze = async (...args: readonly string[]): Promise<string> => {
    const env = { ...process.env, LC_ALL: 'C', XDG_RUNTIME_DIR: root };
    const { stdout, stderr } = await run('systemd-analyze', args, { env });
    return stdout + stderr;
  };

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'snapferry-systemd-'));
    await mkdir(join(root, 'usr/bin'), { recursive: true });
    await writeFile(join(root, 'usr/bin/snapferry'), '#!/bin/sh\n', { mode: 0o755 });
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  test('every unit is understood, line by line', async () => {
    for (const kind of ['system', 'user']) {
      const place = join(root, 'checked', kind);
      await cp(join(units, kind), place, { recursive: true });
      for (const name of await readdir(place)) {
        // The program need not be on this machine to look at its units.
        const file = join(place, name);
        await writeFile(
          file,
          (await readFile(file, 'utf8')).replaceAll('/usr/bin/snapferry', join(root, 'usr/bin/snapferry')),
        );
      }
      const files = (await readdir(place)).map((name) => join(place, name));
      expect(await analyze('verify', '--man=no', ...(kind === 'user' ? ['--user'] : []), ...files)).toBe('');
    }
  });

  // 10 is a service without any bounds. CAP_SYS_ADMIN, the network, every file and setuid are what a backup is about.
  test.each([
    ['the daemon as root', [], 3.8],
    ['with zfs allow only', ['unprivileged.conf'], 2.1],
  ] as const)('%s is exposed no more than it has to be', async (title, dropIns, exposureMax) => {
    const place = join(root, title.replaceAll(' ', '-'), 'etc/systemd/system');
    await mkdir(join(place, 'snapferry.service.d'), { recursive: true });
    await cp(join(units, 'system/snapferry.service'), join(place, 'snapferry.service'));
    for (const name of dropIns) await cp(join(units, name), join(place, 'snapferry.service.d', name));
    const printed = await analyze(
      'security',
      '--offline=true',
      `--root=${join(place, '../../..')}`,
      'snapferry.service',
    );
    const exposure = Number(/Overall exposure level for snapferry\.service: ([\d.]+)/.exec(printed)?.[1]);
    expect(exposure, printed).toBeLessThanOrEqual(exposureMax);
  });

  test('the user and the directories can be made', async () => {
    const place = join(root, 'made');
    await mkdir(join(place, 'etc'), { recursive: true });
    await writeFile(join(place, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
    await writeFile(join(place, 'etc/group'), 'root:x:0:\n');
    await run('systemd-sysusers', [`--root=${place}`, join(packaging, 'sysusers.d/snapferry.conf')]);
    expect(await readFile(join(place, 'etc/passwd'), 'utf8')).toMatch(
      /^snapferry:.*:\/var\/lib\/snapferry-ssh:\/bin\/sh$/m,
    );
    // It gives directories to another user, which only root may.
    if (process.getuid?.() !== 0) return;
    await run('systemd-tmpfiles', [`--root=${place}`, '--create', join(packaging, 'tmpfiles.d/snapferry.conf')]);
    expect(await readdir(join(place, 'var/lib/snapferry-ssh'))).toEqual(['.ssh']);
  });
});
