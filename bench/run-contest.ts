import { foreignWork } from './foreign-work.ts';
import type { Comparison, Contest, Figure, Sample } from './question.ts';

/** The middle of several runs, with their extremes. */
export interface Spread {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
}

/** A {@link Comparison} made: ratios within each round, then their middle. */
export interface ComparisonResult extends Comparison {
  readonly better: Figure['better'];
  readonly ratio: Spread;
  /** Null without a ratio to be reached, and where nothing is judged. */
  readonly reached: boolean | null;
}

/** A contest held. */
export interface ContestResult {
  readonly title: string;
  readonly notes: readonly string[];
  readonly figures: readonly Figure[];
  readonly rounds: number;
  /** Rounds thrown away because other programs used the machine; all were noisy if `quiet` is false. */
  readonly discardedRounds: number;
  /** Whether every round counted had the machine to itself. */
  readonly quiet: boolean;
  /** Processors used by other programs, at most, in a round counted. */
  readonly foreignProcessorsMax: number;
  readonly contenders: readonly { readonly name: string; readonly figures: Readonly<Record<string, Spread>> }[];
  readonly comparisons: readonly ComparisonResult[];
}

/** How a contest is held. */
export interface ContestOptions {
  readonly rounds: number;
  /** Whether enough is done for the figures to be held against what must be reached. */
  readonly judged: boolean;
  /** Rounds run beyond that, at most, in place of noisy ones. */
  readonly spareRounds: number;
  /** Told before each run. */
  readonly onRun: (round: number, contender: string) => void;
}

/** One contender after the other, each once. */
interface Round {
  readonly samples: ReadonlyMap<string, Sample>;
  readonly foreignProcessors: number;
}

/** Beyond this, other programs are taken to have changed the outcome. A kernel's own work stays well below. */
const foreignProcessorsAllowed = 0.25;

/**
 * Runs the contenders in turn, round after round, each round beginning with another one. Rounds in which other programs
 * used the machine are run again as long as there are spare ones; without enough quiet rounds all count, and the result
 * says so.
 */
export async function runContest(contest: Contest, options: ContestOptions): Promise<ContestResult> {
  const rounds: Round[] = [];
  const allowed = contest.discardNoisyRounds === false ? Infinity : foreignProcessorsAllowed;
  const quietRounds = (): Round[] => rounds.filter((round) => round.foreignProcessors <= allowed);
  while (quietRounds().length < options.rounds && rounds.length < options.rounds + options.spareRounds) {
    rounds.push(await runRound(contest, rounds.length, options));
  }
  const quiet = quietRounds().length >= options.rounds;
  const counted = quiet ? quietRounds() : rounds;
  return {
    title: contest.title,
    notes: contest.notes ?? [],
    figures: contest.figures,
    rounds: counted.length,
    discardedRounds: rounds.length - counted.length,
    quiet,
    foreignProcessorsMax: Math.max(...counted.map((round) => round.foreignProcessors)),
    contenders: contest.contenders.map(({ name }) => ({ name, figures: figuresOf(contest, name, counted) })),
    comparisons: contest.comparisons.map((comparison) => compare(comparison, contest, counted, options.judged)),
  };
}

async function runRound(contest: Contest, round: number, options: ContestOptions): Promise<Round> {
  const samples = new Map<string, Sample>();
  let foreignProcessors = 0;
  const first = round % contest.contenders.length;
  for (const contender of [...contest.contenders.slice(first), ...contest.contenders.slice(0, first)]) {
    options.onRun(round, contender.name);
    const work = foreignWork();
    samples.set(contender.name, await contender.run());
    foreignProcessors = Math.max(foreignProcessors, work.processors());
  }
  return { samples, foreignProcessors };
}

function figuresOf(contest: Contest, contender: string, rounds: readonly Round[]): Record<string, Spread> {
  const measured = contest.figures.filter(({ name }) => rounds.every((round) => name in sampleOf(round, contender)));
  return Object.fromEntries(
    measured.map(({ name }) => [name, spread(rounds.map((round) => figureOf(round, contender, name)))]),
  );
}

function compare(
  comparison: Comparison,
  contest: Contest,
  rounds: readonly Round[],
  judged: boolean,
): ComparisonResult {
  const { contender, against, figure, mustReach } = comparison;
  const ratio = spread(rounds.map((round) => figureOf(round, contender, figure) / figureOf(round, against, figure)));
  const isMore = contest.figures.find(({ name }) => name === figure)?.better === 'more';
  const isReached = (wanted: number): boolean => (isMore ? ratio.median >= wanted : ratio.median <= wanted);
  return {
    ...comparison,
    better: isMore ? 'more' : 'less',
    ratio,
    reached: mustReach === null || !judged ? null : isReached(mustReach),
  };
}

function figureOf(round: Round, contender: string, figure: string): number {
  const value = sampleOf(round, contender)[figure];
  if (value === undefined) throw new Error(`${contender} did not measure ${figure}`);
  return value;
}

function sampleOf(round: Round, contender: string): Sample {
  const sample = round.samples.get(contender);
  if (sample === undefined) throw new Error(`${contender} is no contender here`);
  return sample;
}

function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? NaN;
  const median = sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
  return { median, lowest: sorted[0] ?? NaN, highest: sorted.at(-1) ?? NaN };
}
