import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { schemaFaults } from '../support/json-schema.ts';
import { runProgram } from '../support/run-program.ts';

const repository = join(import.meta.dirname, '../..');
const fixture = (name: string) => join(repository, 'test/fixtures/zrepl', name);
const sound = 'jobs:\n  - { type: snap, name: a, filesystems: { "<": true }, snapshotting: { type: manual } }\n';
const doubtful = sound.replace('type: manual', 'type: periodic, interval: 1h, prefix: a_');
const wrong = sound.replace('name: a', 'nam: a').replace('manual', 'manuel');

let work: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'snapferry-config-cli-'));
  for (const [name, text] of Object.entries({ sound, doubtful, wrong }))
    await writeFile(join(work, `${name}.yml`), text);
});
afterAll(() => rm(work, { recursive: true, force: true }));

const run = (...args: string[]) => runProgram(args, { cwd: work });
const document = ({ stdout }: { stdout: string }) => JSON.parse(stdout) as Record<string, unknown>;

describe('configcheck', () => {
  test('says that a configuration is right', async () => {
    expect(await run('configcheck', '--config', 'sound.yml')).toEqual({
      code: 0,
      stdout: 'sound.yml: 1 job, 0 warnings\n',
      stderr: '',
    });
  });

  test('shows every mistake with its line, and exits with 2', async () => {
    expect(await run('configcheck', '--config', 'wrong.yml')).toEqual({
      code: 2,
      stdout: '',
      stderr: `wrong.yml:2:19: unknown key "nam"; did you mean "name"?
  2 |   - { type: snap, nam: a, filesystems: { "<": true }, snapshotting: { type: manuel } }
    |                   ^
wrong.yml:2:77: jobs.0.snapshotting.type: expected one of "periodic", "cron", "manual", found "manuel"; did you mean "manual"?
  2 |   - { type: snap, nam: a, filesystems: { "<": true }, snapshotting: { type: manuel } }
    |                                                                             ^
snapferry: check wrong.yml: 2 mistakes (CONFIGURATION)
`,
    });
  });

  test('warns, and refuses what is doubtful only if asked to', async () => {
    const lenient = await run('configcheck', '--config', 'doubtful.yml');
    expect(lenient).toMatchObject({ code: 0, stdout: 'doubtful.yml: 1 job, 1 warning\n' });
    expect(lenient.stderr).toContain('warning: doubtful.yml:2:5: jobs.0.pruning: nothing ever removes');
    expect(await run('configcheck', '--warnings-as-errors', '--config', 'doubtful.yml')).toMatchObject({ code: 2 });
  });

  test('tells a program the same', async () => {
    expect(document(await run('configcheck', '--json', '--config', 'doubtful.yml'))).toMatchObject({
      ok: true,
      files: [join(work, 'doubtful.yml')],
      jobs: [{ name: 'a', type: 'snap', backend: 'zfs' }],
      warnings: [{ code: 'no_pruning', job: 'a' }],
    });
    expect(document(await run('configcheck', '--json', '--config', 'wrong.yml'))).toMatchObject({
      ok: false,
      problems: [expect.stringContaining('wrong.yml:2:19'), expect.stringContaining('wrong.yml:2:77')],
      error: { code: 'CONFIGURATION' },
    });
  });

  test('says where it looked for a file that is not there', async () => {
    const { code, stderr } = await run('configcheck', '--config', 'none.yml');
    expect(code).toBe(2);
    expect(stderr).toContain('cannot read the configuration none.yml');
  });
});

describe('config schema', () => {
  test('prints a JSON Schema that takes what is right and refuses what is not', async () => {
    const { code, stdout, stderr } = await run('config', 'schema');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const schema = JSON.parse(stdout) as unknown;
    expect(schema).toMatchObject({ $schema: 'https://json-schema.org/draft/2020-12/schema' });
    expect(schemaFaults(schema, parse(sound))).toEqual([]);
    expect(schemaFaults(schema, parse(wrong))).not.toEqual([]);
  });
});

describe('config import', () => {
  test('prints what means the same, and exits with 0 if all of it does', async () => {
    const { code, stdout, stderr } = await run('config', 'import', fixture('snap.yml'));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '1 job to stdout; everything was taken over\n' });
    await writeFile(join(work, 'printed.yml'), stdout);
    expect(await run('configcheck', '--config', 'printed.yml')).toMatchObject({ code: 0, stderr: '' });
  });

  test('names what was not taken over, and exits with 3', async () => {
    const { code, stderr } = await run('config', 'import', '-q', fixture('hooks.yml'));
    expect(code).toBe(3);
    const warnings = stderr.split('\n').filter((line) => line.startsWith('warning: not taken over: '));
    expect(warnings).toEqual([
      expect.stringContaining('hooks.yml:15:7: hook of type postgres-checkpoint: '),
      expect.stringContaining('hooks.yml:18:7: hook of type mysql-lock-tables: '),
    ]);
  });

  test('refuses what is refused here, and exits with 2', async () => {
    const { code, stdout, stderr } = await run('config', 'import', fixture('refused/duplicate-names.yml'));
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('the name "twice" is already taken');
  });

  test('writes a file that only the group can read, and replaces none unasked', async () => {
    const args = ['config', 'import', fixture('local.yml'), '--output', 'out.yml'];
    expect(await run(...args)).toMatchObject({ code: 0, stdout: '' });
    expect((await stat(join(work, 'out.yml'))).mode & 0o007).toBe(0);
    const written = await readFile(join(work, 'out.yml'), 'utf8');
    expect(parse(written)).toMatchObject({ jobs: [{ name: 'second_disk' }, { name: 'to_second_disk' }] });
    await writeFile(join(work, 'out.yml'), '# mine\n');
    expect(await run(...args)).toMatchObject({ code: 2 });
    expect(await readFile(join(work, 'out.yml'), 'utf8')).toBe('# mine\n');
    expect(await run(...args, '--force')).toMatchObject({ code: 0 });
    expect(await readFile(join(work, 'out.yml'), 'utf8')).toBe(written);
  });

  test('tells a program the same', async () => {
    const result = await run('config', 'import', '--json', fixture('push-tcp.yml'));
    expect(result.code).toBe(3);
    expect(document(result)).toMatchObject({
      notes: [{ kind: 'dropped' }],
      warnings: [],
    });
  });
});
