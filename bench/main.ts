import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compilePrograms } from './compile-programs.ts';
import { directory } from './directory.ts';
import { describeMachine, machineFacts } from './machine-facts.ts';
import { summariseProfiles } from './profile-summary.ts';
import type { Question, Settings } from './question.ts';
import { renderResult } from './render-result.ts';
import { requests } from './requests.ts';
import { runContest, type ContestResult } from './run-contest.ts';
import { transfer } from './transfer.ts';

const questions: readonly Question[] = [transfer, requests, directory];

const usage = `npm run bench -- [OPTION]…

Measures beside each other, in turn, what snapferry does and what is comparable. Prints medians and ratios (lowest and highest
in parentheses); never fails because something was slow. A real run wants an otherwise idle machine.

  --quick          everything small, one round: only shows that the benches run
  --only NAME      one question: ${questions.map(({ name }) => name).join(', ')}; may be repeated
  --rounds N       rounds counted, default 5
  --folder DIR     where sockets and trees are made, default the system's folder for temporary files
  --profile DIR    CPU profiles of both ends into DIR, and a summary of each; one round
  --json           one JSON document instead of tables
  --help
`;

/** What the command line asks for. */
interface Request {
  readonly chosen: readonly Question[];
  readonly quick: boolean;
  readonly rounds: number;
  readonly folder: string;
  readonly profileFolder: string | null;
  readonly json: boolean;
}

function readArguments(argv: readonly string[]): Request | null {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true },
      rounds: { type: 'string', default: '5' },
      folder: { type: 'string', default: tmpdir() },
      profile: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const names = values.only ?? questions.map(({ name }) => name);
  const unknown = names.find((name) => !questions.some((question) => question.name === name));
  if (unknown !== undefined) throw new TypeError(`there is no question ${JSON.stringify(unknown)}`);
  if (!/^[1-9]\d{0,3}$/.test(values.rounds)) throw new TypeError(`--rounds ${values.rounds} is not a number of rounds`);
  const isOnce = values.quick || values.profile !== undefined;
  return {
    chosen: questions.filter(({ name }) => names.includes(name)),
    quick: values.quick,
    rounds: isOnce ? 1 : Number(values.rounds),
    folder: values.folder,
    profileFolder: values.profile === undefined ? null : resolve(values.profile),
    json: values.json,
  };
}

async function run(request: Request): Promise<void> {
  const machine = machineFacts();
  if (!request.json) process.stdout.write(`${describeMachine(machine)}\n\n`);
  const ownFolder = fileURLToPath(new URL('../.tmp/', import.meta.url));
  await mkdir(ownFolder, { recursive: true });
  // Below this package, where what the programs import is found.
  const programFolder = await mkdtemp(join(ownFolder, 'bench-'));
  const workFolder = await mkdtemp(join(request.folder, 'snapferry-bench-'));
  try {
    await compilePrograms(programFolder);
    const { quick, profileFolder } = request;
    const results = await ask(request, { quick, profileFolder, programFolder, workFolder });
    if (profileFolder !== null && !request.json) process.stdout.write(summariseProfiles(profileFolder));
    if (request.json) process.stdout.write(`${JSON.stringify({ machine, quick, results }, null, 2)}\n`);
  } finally {
    await rm(workFolder, { recursive: true, force: true });
    await rm(programFolder, { recursive: true, force: true });
  }
}

async function ask(request: Request, settings: Settings): Promise<(ContestResult & { question: string })[]> {
  const results = [];
  for (const question of request.chosen) {
    for (const contest of await question.contests(settings)) {
      const result = await runContest(contest, {
        rounds: request.rounds,
        judged: !request.quick,
        spareRounds: request.rounds === 1 ? 0 : request.rounds,
        onRun: (round, contender) => process.stderr.write(`${question.name}, round ${round + 1}: ${contender}\n`),
      });
      if (!request.json) process.stdout.write(`${renderResult(result)}\n`);
      results.push({ question: question.name, ...result });
    }
  }
  return results;
}

let request: Request | null;
try {
  request = readArguments(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${usage}`);
  process.exit(2);
}
if (request === null) process.stdout.write(usage);
else await run(request);
