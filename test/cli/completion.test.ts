import { execFile, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { completionsFor } from '../../src/cli/completions.ts';
import { commandTable } from '../../src/cli/command-table.ts';
import { createProgram } from '../../src/cli/program.ts';
import { describePlatform, missingPrograms } from '../support/platform.ts';
import { builtProgram, runProgram } from '../support/run-program.ts';

const program = await createProgram();
program
  .command('job-test')
  .argument('<job>')
  .argument('[path...]')
  .option('--only <job>', 'a job')
  .option('-c, --config <file>');

const jobs = [
  { value: 'home', description: 'local, directory' },
  { value: 'web1', description: 'pull, zfs' },
];
const asked: (string | null)[] = [];

/** Of a line as it is typed, the last word being under the cursor. */
function complete(line: string): { values: string[]; files: boolean } {
  const { candidates, files } = completionsFor(program, line.split(' '), (file) => {
    asked.push(file);
    return jobs;
  });
  return { values: candidates.map(({ value }) => value), files };
}

const files = { values: [], files: true };
const nothing = { values: [], files: false };

describe('what may stand at the cursor', () => {
  test('every command, and those that begin so', () => {
    expect(complete('').values).toEqual(expect.arrayContaining([...commandTable.map(({ name }) => name), 'help']));
    expect(complete('pu')).toEqual({ values: ['pull', 'push'], files: false });
    expect(complete('nonsense')).toEqual(nothing);
  });

  test('commands below a command, and of help', () => {
    expect(complete('config s')).toEqual({ values: ['schema'], files: false });
    expect(complete('help ver')).toEqual({ values: ['verify'], files: false });
    expect(complete('completion ')).toEqual({ values: ['bash', 'zsh', 'fish', 'help'], files: false });
  });

  test('options of the command, long and short, and none of another', () => {
    expect(complete('pull --ini')).toEqual({ values: ['--initial'], files: false });
    expect(complete('pull -').values).toEqual(expect.arrayContaining(['--dry-run', '-n', '--help', '-h']));
    expect(complete('list --initial')).toEqual(nothing);
    expect(complete('config import --fo')).toEqual({ values: ['--force'], files: false });
  });

  test('values of an option, in the same word and in the next', () => {
    expect(complete('pull --initial ')).toEqual({ values: ['most_recent', 'all'], files: false });
    expect(complete('pull --initial=a')).toEqual({ values: ['all'], files: false });
    expect(complete('pull -i ')).toEqual(files);
    expect(complete('pull --nonsense=')).toEqual(nothing);
  });

  test('files, up to the last argument a command takes', () => {
    expect(complete('pull ')).toEqual(files);
    expect(complete('pull --initial all web1:/srv ')).toEqual(files);
    expect(complete('pull --json a b ')).toEqual(nothing);
    expect(complete('restore a b c d e ')).toEqual(files);
    expect(complete('pull -- -')).toEqual(files);
  });

  test('jobs, of the configuration that the line names', () => {
    asked.length = 0;
    expect(complete('job-test ')).toEqual({ values: ['home', 'web1'], files: false });
    expect(complete('job-test --config ./a.yml --only=w')).toEqual({ values: ['web1'], files: false });
    expect(complete('job-test --config=b.yml h')).toEqual({ values: ['home'], files: false });
    expect(complete('job-test home ')).toEqual(files);
    expect(asked).toEqual([null, './a.yml', 'b.yml']);
  });
});

let work: string;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'snapferry-completion-'));
  await mkdir(join(work, 'bin'));
  // What the scripts call.
  const path = join(work, 'bin/snapferry');
  await writeFile(path, `#!/bin/sh\nexec '${process.execPath}' '${await builtProgram()}' "$@"\n`);
  await chmod(path, 0o755);
  await mkdir(join(work, 'some-directory'));
  await writeFile(join(work, 'untouched'), 'as it was');
});
afterAll(() => rm(work, { recursive: true, force: true }));

describe('what the program answers', () => {
  const answer = async (...words: string[]) => (await runProgram(['completion', 'complete', '--', ...words])).stdout;

  test('a line for each, and one that says whether files are meant', async () => {
    expect(await answer('pul')).toBe('pull\tbring a TARGET on this machine up to date with SOURCE\n:4\n');
    expect(await answer('pull', '--initial=m')).toBe('most_recent\t\n:4\n');
    expect(await answer('pull', '')).toBe(':0\n');
    expect(await answer('pull', '--', '')).toBe(':0\n');
    expect(await answer('nonsense', '--x', '')).toBe(':4\n');
  });

  test('the jobs of a configuration, also of one in the home directory, and none of one that is wrong', async () => {
    const pruning = 'pruning: { keep: [{ type: last_n, count: 3 }] }';
    const job = (name: string) =>
      `  - { name: ${name}, type: snap, filesystems: { tank: true }, snapshotting: { type: manual }, ${pruning} }\n`;
    await writeFile(join(work, 'jobs.yml'), `jobs:\n${job('home')}${job('web1')}`);
    await writeFile(join(work, 'wrong.yml'), 'jobs: [');
    const ask = async (...words: string[]) =>
      (await runProgram(['completion', 'complete', '--', ...words], { cwd: work, env: { HOME: work } })).stdout;
    expect(await ask('run', '--config', 'jobs.yml', '')).toBe('home\tsnap, zfs\nweb1\tsnap, zfs\n:4\n');
    expect(await ask('signal', '--config=~/jobs.yml', 'w')).toBe('web1\tsnap, zfs\n:4\n');
    expect(await ask('test', 'retention', '--config', "'jobs.yml'", 'h')).toBe('home\tsnap, zfs\n:4\n');
    expect(await ask('run', '--config', 'wrong.yml', '')).toBe(':4\n');
    expect(await ask('signal', 'home', 'w')).toBe('wakeup\t\n:4\n');
  });
});

/** An environment in which nothing of whoever runs the tests is left. */
const environment = () => ({
  PATH: `${work}/bin:${process.env['PATH'] ?? ''}`,
  HOME: work,
  TERM: 'dumb',
  LC_ALL: 'C.UTF-8',
});

/**
 * Types lines into an interactive shell on a terminal of its own and tells what each was after a press of Tab. The shell prints it itself: after
 * Tab the cursor goes to the front, and a command that prints its arguments is put there.
 */
async function typed(shell: string, setUp: readonly string[], lines: readonly string[]): Promise<string[]> {
  const child = spawn('script', ['-qfec', shell, '/dev/null'], {
    cwd: work,
    env: environment(),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let heard = '';
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve());
  });
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (heard += piece));
  const show = `printf 'line:' ; printf '<%s>' `;
  for (const line of setUp) child.stdin.write(`${line}\n`);
  for (const line of lines) child.stdin.write(`${line}\t\u0001${show}\u0005\necho\n`);
  child.stdin.end('exit\n');
  await ended;
  return [...heard.matchAll(/line:((?:<[^>\r\n]*>)+)/g)].map(([, words]) => words!);
}

describePlatform('bash', missingPrograms(['bash', 'script'], 'bsdutils'), () => {
  test('commands, options, values and files', async () => {
    const lines = [
      'snapferry verif',
      'snapferry pull --ini',
      'snapferry pull --initial=al',
      'snapferry pull --ssh-port=1 --initial m',
      'snapferry pull host:/srv/data --initial al',
      'snapferry list some-d',
      'snapferry help config',
    ];
    expect(await typed('bash --norc --noprofile -i', ['source <(snapferry completion bash)'], lines)).toEqual([
      '<snapferry><verify>',
      '<snapferry><pull><--initial>',
      '<snapferry><pull><--initial=all>',
      '<snapferry><pull><--ssh-port=1><--initial><most_recent>',
      '<snapferry><pull><host:/srv/data><--initial><all>',
      '<snapferry><list><some-directory/>',
      '<snapferry><help><config>',
    ]);
  });

  test('nothing of what was typed is run', async () => {
    const file = join(work, 'untouched');
    const { stdout } = await promisify(execFile)(
      'bash',
      [
        '-c',
        `source <(snapferry completion bash)
        COMP_WORDS=(snapferry list '$(rm ${file})' '>' ${file} '') COMP_CWORD=5
        COMP_LINE="snapferry list \\$(rm ${file}) > ${file} "
        _snapferry 2>/dev/null
        cat ${file}`,
      ],
      { env: environment() },
    );
    expect(stdout).toBe('as it was');
  });
});

describePlatform('zsh', missingPrograms(['zsh'], 'zsh') ?? missingPrograms(['script'], 'bsdutils'), () => {
  test('commands, options, values and files', async () => {
    const setUp = [
      'PS1="$ "',
      'bindkey -e',
      // Else the slash goes again as the line is run.
      'unsetopt auto_remove_slash',
      'autoload -U compinit',
      'compinit -D -u',
      'source <(snapferry completion zsh)',
    ];
    const lines = ['snapferry verif', 'snapferry pull --ini', 'snapferry pull --initial al', 'snapferry list some-d'];
    expect(await typed('zsh -f -i', setUp, lines)).toEqual([
      '<snapferry><verify>',
      '<snapferry><pull><--initial>',
      '<snapferry><pull><--initial><all>',
      '<snapferry><list><some-directory/>',
    ]);
  });
});

describePlatform('fish', missingPrograms(['fish'], 'fish'), () => {
  const fish = async (line: string): Promise<string> => {
    const asks = 'snapferry completion fish | source; complete -C $argv[1]';
    const { stdout } = await promisify(execFile)('fish', ['--no-config', '-c', asks, line], {
      cwd: work,
      env: environment(),
    });
    return stdout;
  };

  test('commands, options, values and files', async () => {
    expect(await fish('snapferry verif')).toMatch(/^verify\t/);
    expect(await fish('snapferry pull --ini')).toMatch(/^--initial\t/);
    expect(await fish('snapferry pull --initial=al')).toMatch(/^--initial=all\b/);
    expect(await fish('snapferry list some-d')).toMatch(/^some-directory\//);
  });
});
