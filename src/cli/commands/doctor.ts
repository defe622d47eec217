import type { Command } from 'commander';
import pc from 'picocolors';
import { addDaemonOptions } from '../daemon-client.ts';
import type { DaemonFlags } from '../daemon-client.ts';
import { examineDaemon } from '../doctor/check-daemon.ts';
import { examine } from '../doctor/examine.ts';
import type { Examination } from '../doctor/examine.ts';
import { seeMachine } from '../doctor/machine.ts';
import type { SeenMachine } from '../doctor/machine.ts';
import { jobPatient, placePatient } from '../doctor/patients.ts';
import { renderExamination } from '../doctor/render-examination.ts';
import { exitCodes } from '../exit-code.ts';
import type { ExitCode } from '../exit-code.ts';
import { formatCount } from '../format.ts';
import { parseLocation } from '../location.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';
import { paintLine } from '../status-lines.ts';
import { UsageError } from '../usage-error.ts';

interface Flags extends OutputFlags, DaemonFlags {
  readonly rehearsal: boolean;
}

/** `snapferry doctor`. */
export function configure(command: Command): void {
  command
    .argument('[job|location]', 'a job, or a place on this machine; default: the daemon and all jobs')
    .option('--no-rehearsal', 'do not go through the jobs as a run would, which asks the other side')
    .action((subject: string | undefined) => {
      const flags = command.opts<Flags>();
      return runCommand({
        output: flags,
        doing: subject === undefined ? 'doctor' : `doctor ${subject}`,
        onInterrupted: () => 'it only looked',
        body: (run) => doctor(run, subject ?? null, flags),
      });
    });
  addDaemonOptions(command);
  addOutputOptions(command);
  command.addHelpText(
    'after',
    `
It changes nothing. What it finds comes with the commands that cure it; read them before you copy them.
Exit code 1: there is a problem.`,
  );
  addExamples(command, [
    ['', 'everything'],
    ['web1', 'why is this job stuck?'],
    ['zfs:backup', 'what lies around there?'],
  ]);
}

async function doctor(run: Run, subject: string | null, flags: Flags): Promise<ExitCode> {
  const colours = pc.createColors(process.stdout.isTTY && pc.isColorSupported);
  const examinations: Examination[] = [];
  for await (const examination of examineAll(run, subject, flags)) {
    examinations.push(examination);
    run.terminal.progress.clear();
    run.terminal.print(
      renderExamination(examination)
        .map((line) => `${paintLine(line, colours)}\n`)
        .join('') + '\n',
    );
  }
  const findings = examinations.flatMap((examination) => examination.findings);
  const problems = findings.filter(({ severity }) => severity === 'problem').length;
  const notices = formatCount(findings.length - problems, 'notice');
  run.terminal.print(
    problems === 0 ? `no problems, ${notices}\n` : `${formatCount(problems, 'problem')}, ${notices}\n`,
  );
  run.terminal.printJSON({ ok: problems === 0, problems, examinations });
  return problems === 0 ? exitCodes.done : exitCodes.failed;
}

async function* examineAll(run: Run, subject: string | null, flags: Flags): AsyncGenerator<Examination> {
  const seen = await seeMachine(run, flags);
  const { machine, configuration, findings } = seen;
  const job = configuration?.jobs.find(({ name }) => name === subject) ?? null;
  if (subject !== null && job === null) {
    yield await examineLocation(subject, seen);
    return;
  }
  yield { name: 'this machine', what: '', findings: [...findings, ...(await examineDaemon(machine))] };
  if (configuration === null) return;
  for (const each of job === null ? configuration.jobs : [job]) {
    run.terminal.progress.work(`looking at ${each.name}`, null, null);
    yield await examine(await jobPatient({ job: each, configuration, machine, isRehearsed: flags.rehearsal }));
  }
}

async function examineLocation(text: string, { machine, configuration, findings }: SeenMachine): Promise<Examination> {
  const location = parseLocation(text);
  if (location.kind === 'remote') {
    throw new UsageError(`the doctor looks at this machine only; run it there: ssh ${location.host} snapferry doctor`);
  }
  if (location.backend === 'directory' && !/^([./~]|dir:)/.test(text)) {
    // A word that is no path was meant to be a job.
    const [unreadable] = findings;
    if (unreadable !== undefined) throw new UsageError(`there is no job "${text}" to be found: ${unreadable.message}`);
    const known = configuration?.jobs.map(({ name }) => name).join(', ') ?? '';
    throw new UsageError(`there is no job "${text}"; there are: ${known}. A directory is written ./${text}`);
  }
  return examine(await placePatient(text, location, machine));
}
