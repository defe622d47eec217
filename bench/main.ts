import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { btrfs } from './btrfs.ts';
import { compilePrograms } from './compile-programs.ts';
import { directory } from './directory.ts';
import { otherLibraries } from './libraries.ts';
import { describeMachine, machineFacts } from './machine-facts.ts';
import { memory } from './memory.ts';
import { summariseProfiles } from './profile-summary.ts';
import type { Contest, Question, Settings } from './question.ts';
import { renderResult } from './render-result.ts';
import { renderSummary } from './render-summary.ts';
import { requests } from './requests.ts';
import { runContest, type ContestResult } from './run-contest.ts';
import { ssh } from './ssh.ts';
import { toolToTool } from './tool-to-tool.ts';
import { transfer } from './transfer.ts';
import { zfs } from './zfs.ts';
import { zfsList } from './zfs-list.ts';

const questions: readonly Question[] = [
  transfer,
  otherLibraries,
  ssh,
  toolToTool,
  memory,
  requests,
  directory,
  btrfs,
  zfsList,
  zfs,
];

const usage = `npm run bench -- [OPTION]…

Measures beside each other, in turn, what snapferry does and what is comparable, and prints a table of ratios: medians of
those of each round. Never fails because something was slow. A real run wants an otherwise idle machine.

  --quick          everything small, one round: only shows that the benches run
  --only NAME      one question: ${questions.map(({ name }) => name).join(', ')}; may be repeated
  --contest TEXT   only contests whose title in the table contains it, such as 'over tls'
  --rounds N       rounds counted, default 5
  --folder DIR     where sockets and trees are made, default the system's folder for temporary files
  --profile DIR    CPU profiles of both ends into DIR, and a summary of each; one round
  --details        also what each contender did
  --json           one JSON document with everything, instead of the table
  --help
`;

/** What the command line asks for. */
interface Request {
  readonly chosen: readonly Question[];
  /** Part of the subjects of the contests wanted. */
  readonly contest: string;
  readonly quick: boolean;
  readonly rounds: number;
  readonly folder: string;
  readonly profileFolder: string | null;
  readonly details: boolean;
  readonly json: boolean;
}

function readArguments(argv: readonly string[]): Request | null {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true },
      contest: { type: 'string', default: '' },
      rounds: { type: 'string', default: '5' },
      folder: { type: 'string', default: tmpdir() },
      profile: { type: 'string' },
      details: { type: 'boolean', default: false },
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
    contest: values.contest,
    quick: values.quick,
    rounds: isOnce ? 1 : Number(values.rounds),
    folder: values.folder,
    profileFolder: values.profile === undefined ? null : resolve(values.profile),
    details: values.details,
    json: values.json,
  };
}

async function run(request: Request, signal: AbortSignal): Promise<void> {
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
    const answers = await answer(request, { quick, profileFolder, programFolder, workFolder, signal });
    if (request.json) process.stdout.write(`${JSON.stringify({ machine, quick, results: answers }, null, 2)}\n`);
    else {
      process.stdout.write(renderSummary(answers));
      if (profileFolder !== null) process.stdout.write(summariseProfiles(profileFolder));
    }
  } finally {
    await rm(workFolder, { recursive: true, force: true });
    await rm(programFolder, { recursive: true, force: true });
  }
}

/** The result of a contest, and which question it is part of. */
type Answer = ContestResult & { readonly question: string };

async function answer(request: Request, settings: Settings): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const { name, missing = null, ask } of request.chosen) {
    if (missing !== null) {
      process.stderr.write(`SKIPPED ${name}: ${missing}\n`);
      continue;
    }
    // Each question has a folder of its own: names like `source` are taken by several.
    const workFolder = join(settings.workFolder, name);
    await mkdir(workFolder);
    const { contests, release } = await ask({ ...settings, workFolder });
    try {
      for (const contest of contests.filter(({ subject }) => subject.includes(request.contest))) {
        answers.push({ question: name, ...(await hold(name, contest, request)) });
      }
    } finally {
      await release?.();
    }
  }
  return answers;
}

async function hold(question: string, contest: Contest, request: Request): Promise<ContestResult> {
  const { rounds, quick } = request;
  const result = await runContest(contest, {
    rounds,
    judged: !quick,
    spareRounds: rounds === 1 ? 0 : rounds,
    onRun: (round, contender) =>
      process.stderr.write(`${question}, ${contest.subject}, round ${round + 1}: ${contender}\n`),
  });
  if (request.details && !request.json) process.stdout.write(`${renderResult(result)}\n`);
  return result;
}

let request: Request | null;
try {
  request = readArguments(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${usage}`);
  process.exit(2);
}
if (request === null) process.stdout.write(usage);
else {
  const interruption = new AbortController();
  // Trees of a gigabyte and an sshd are not to be left behind.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interruption.abort());
  try {
    await run(request, interruption.signal);
  } catch (error) {
    if (!interruption.signal.aborted) throw error;
    process.stderr.write('interrupted\n');
    process.exitCode = 130;
  }
}
