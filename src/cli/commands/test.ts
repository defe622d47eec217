import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { Option } from 'commander';
import { configurationFileDefault } from '../../config/configuration.ts';
import { datasetsOfJob } from '../../jobs/datasets-of-job.ts';
import { planRetentionOfJob, retentionOf } from '../../jobs/plan-retention-of-job.ts';
import type { DatasetRetention, PrunedSide } from '../../jobs/plan-retention-of-job.ts';
import { planRetention } from '../../retention/plan-retention.ts';
import { renderRetention } from '../../retention/render-retention.ts';
import { parseVersionList } from '../../retention/version-list.ts';
import { besideLocalPeer, configuredJob } from '../configured-job.ts';
import type { ConfiguredJob } from '../configured-job.ts';
import { exitCodes } from '../exit-code.ts';
import type { ExitCode } from '../exit-code.ts';
import { formatCount, printable } from '../format.ts';
import { addExamples, addOutputOptions } from '../options.ts';
import type { OutputFlags } from '../options.ts';
import { runCommand } from '../run.ts';
import type { Run } from '../run.ts';
import { UsageError } from '../usage-error.ts';

interface Flags extends OutputFlags {
  readonly config: string;
}

interface RetentionFlags extends Flags {
  readonly side?: PrunedSide;
  readonly dataset?: string;
  readonly versions?: string;
}

/** `snapferry test filesystems JOB` and `snapferry test retention JOB`. */
export function configure(command: Command): void {
  const filesystems = testOf(command, 'filesystems', 'which datasets a job means, and by which pattern');
  filesystems.action((name: string) => {
    const flags = filesystems.opts<Flags>();
    const doing = `test filesystems ${name}`;
    return runCommand({ output: flags, doing, body: (run) => testFilesystems(run, name, flags) });
  });
  const retention = testOf(command, 'retention', 'what a job would keep and destroy, and by which rule')
    .addOption(
      new Option('--side <side>', 'its own snapshots, or the copies it stores; default: whichever it prunes').choices([
        'sender',
        'receiver',
      ]),
    )
    .option('--dataset <name>', 'only this one')
    .option('--versions <file>', 'try the rules on these instead: a name and a date on each line; - for stdin');
  retention.action((name: string) => {
    const flags = retention.opts<RetentionFlags>();
    const doing = `test retention ${name}`;
    return runCommand({ output: flags, doing, body: (run) => testRetention(run, name, flags) });
  });
  addExamples(command, [
    ['filesystems web1', 'is everything in it that should be?'],
    ['retention --side receiver web1', 'what would go at the next run?'],
    ['retention --versions snapshots.txt web1', 'how do the rules work on these names and dates?'],
  ]);
}

function testOf(command: Command, name: string, summary: string): Command {
  const added = command
    .command(name)
    .summary(summary)
    .description(`Show ${summary}. Nothing is changed.`)
    .argument('<job>', 'the name of a job of the configuration')
    .option('-c, --config <file>', 'the configuration', configurationFileDefault);
  return addOutputOptions(added);
}

async function testFilesystems(run: Run, name: string, { config }: Flags): Promise<ExitCode> {
  const { terminal, signal } = run;
  const configured = configuredJob(run, { name, file: config });
  const found = await besideLocalPeer(configured, () => datasetsOfJob(configured.job, configured.dependencies, signal));
  const width = found.reduce((widest, { dataset }) => Math.max(widest, dataset.length), 0);
  for (const { dataset, isMeant, pattern } of found) {
    const why = pattern === null ? 'no pattern speaks of it' : `by "${pattern}"`;
    terminal.print(`${isMeant ? '+' : '-'} ${printable(dataset).padEnd(width)}  ${printable(why)}\n`);
  }
  const meant = found.filter(({ isMeant }) => isMeant).length;
  terminal.print(`${formatCount(meant, 'dataset')} of ${found.length}\n`);
  terminal.printJSON({ command: 'test filesystems', job: name, datasets: found });
  return meant === 0 ? exitCodes.failed : exitCodes.done;
}

async function testRetention(run: Run, name: string, flags: RetentionFlags): Promise<ExitCode> {
  const { terminal, signal } = run;
  const configured = configuredJob(run, { name, file: flags.config });
  const side = flags.side ?? prunedSideOf(configured);
  const plans: DatasetRetention[] = [];
  const tell = (one: DatasetRetention): void => {
    plans.push(one);
    terminal.print(renderRetention(one.plan, { format: 'text', dataset: one.dataset }));
  };
  if (flags.versions === undefined) {
    for await (const one of planRetentionOfJob(configured.job, side, configured.dependencies, signal)) {
      if (flags.dataset === undefined || flags.dataset === one.dataset) tell(one);
    }
  } else {
    tell({
      dataset: flags.dataset ?? flags.versions,
      plan: planOfList(configured, side, await readList(flags.versions)),
    });
  }
  if (plans.length === 0) {
    const which = flags.dataset === undefined ? 'nothing of it yet' : `no ${JSON.stringify(flags.dataset)}`;
    throw new UsageError(
      `there is ${which} at the ${side} side of ${name}; "snapferry test filesystems" has the names`,
    );
  }
  terminal.printJSON({
    command: 'test retention',
    job: name,
    side,
    datasets: plans.map(({ dataset, plan }): unknown => JSON.parse(renderRetention(plan, { format: 'json', dataset }))),
  });
  return exitCodes.done;
}

/** @throws UsageError when there is none, or more than one */
function prunedSideOf({ job }: ConfiguredJob): PrunedSide {
  const sides = (['sender', 'receiver'] as const).filter((side) => job.pruning[side] !== null);
  const [only] = sides;
  if (only !== undefined && sides.length === 1) return only;
  if (only === undefined) throw new UsageError(`the job ${job.name} removes nothing: it has no rules under "pruning"`);
  throw new UsageError(`the job ${job.name} prunes both sides; say which: --side sender, or --side receiver`);
}

function planOfList({ job }: ConfiguredJob, side: PrunedSide, text: string) {
  const { keep, others } = retentionOf(job, side);
  const versions = parseVersionList(text);
  return planRetention({ versions, holds: [], cursors: [], rules: keep, others, now: new Date() });
}

async function readList(path: string): Promise<string> {
  if (path !== '-') return readFile(path, 'utf8');
  const pieces: Uint8Array[] = [];
  for await (const piece of process.stdin) pieces.push(piece as Uint8Array);
  return Buffer.concat(pieces).toString('utf8');
}
