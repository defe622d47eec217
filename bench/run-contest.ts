import { loadavg } from 'node:os';
import { watchNoise, type Noise } from './foreign-work.ts';
import type { Comparison, Contest, Figure, Sample } from './question.ts';
import { spread, type Spread } from './spread.ts';

/** A {@link Comparison} made: ratios within each round, then their middle. */
export interface ComparisonResult extends Comparison {
  readonly better: Figure['better'];
  /** Of the figures; the figure itself where there is nothing to compare it with. */
  readonly ratio: Spread;
  /** The same of the contest's cost figure; null where the comparison is about it, or one of the two has none. */
  readonly costRatio: Spread | null;
  /** Null without a ratio to be reached, and where nothing is judged. */
  readonly reached: boolean | null;
}

/** What others did to the machine during a round, at worst. */
export interface RoundNoise extends Noise {
  /** Average number of running programs in the minute before its end, the contenders among them. */
  readonly load: number;
  readonly isNoisy: boolean;
  /** Whether its figures are among those shown. */
  readonly isCounted: boolean;
}

/** A contest held. */
export interface ContestResult {
  readonly subject: string;
  readonly extent: string;
  readonly notes: readonly string[];
  readonly figures: readonly Figure[];
  readonly rounds: readonly RoundNoise[];
  /** Whether every round counted had the machine to itself; true as well where noisy rounds are not discarded. */
  readonly quiet: boolean;
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
  /** Watches others from its call on, and tells what they did; for tests. */
  readonly watch?: () => () => Noise;
}

/** One contender after the other, each once. */
interface Round extends Noise {
  readonly samples: ReadonlyMap<string, Sample>;
  readonly load: number;
  readonly isNoisy: boolean;
}

/** Beyond this, others are taken to have changed the outcome. A kernel's own work stays well below. */
const noiseProcessorsMax = 0.25;

/**
 * Runs the contenders in turn, round after round, each round beginning with another one. Rounds in which others used the
 * machine are run again as long as there are spare ones; without enough quiet rounds all count, and the result says so.
 */
export async function runContest(contest: Contest, options: ContestOptions): Promise<ContestResult> {
  const rounds: Round[] = [];
  const discards = contest.discardNoisyRounds !== false;
  const good = (): Round[] => rounds.filter((round) => !discards || !round.isNoisy);
  while (good().length < options.rounds && rounds.length < options.rounds + options.spareRounds) {
    rounds.push(await runRound(contest, rounds.length, options));
  }
  const counted = good().length >= options.rounds ? good() : rounds;
  const names = new Set(contest.contenders.map(({ name }) => name));
  const comparisons = contest.comparisons.filter(
    ({ contender, against }) => names.has(contender) && (against === null || names.has(against)),
  );
  return {
    subject: contest.subject,
    extent: contest.extent,
    notes: contest.notes ?? [],
    figures: contest.figures,
    rounds: rounds.map((round) => noiseOf(round, counted.includes(round))),
    quiet: counted.every((round) => !discards || !round.isNoisy),
    contenders: contest.contenders.map(({ name }) => ({ name, figures: figuresOf(contest, name, counted) })),
    comparisons: comparisons.map((comparison) => compare(comparison, contest, counted, options.judged)),
  };
}

async function runRound(contest: Contest, number: number, options: ContestOptions): Promise<Round> {
  const samples = new Map<string, Sample>();
  const noises: Noise[] = [];
  const first = number % contest.contenders.length;
  for (const contender of [...contest.contenders.slice(first), ...contest.contenders.slice(0, first)]) {
    options.onRun(number, contender.name);
    const noise = (options.watch ?? watchNoise)();
    samples.set(contender.name, await contender.run());
    noises.push(noise());
  }
  return {
    samples,
    foreignProcessors: Math.max(...noises.map(({ foreignProcessors }) => foreignProcessors)),
    stolenProcessors: Math.max(...noises.map(({ stolenProcessors }) => stolenProcessors)),
    load: loadavg()[0] ?? 0,
    isNoisy: noises.some((noise) => noise.foreignProcessors + noise.stolenProcessors > noiseProcessorsMax),
  };
}

function noiseOf({ foreignProcessors, stolenProcessors, load, isNoisy }: Round, isCounted: boolean): RoundNoise {
  return { foreignProcessors, stolenProcessors, load, isNoisy, isCounted };
}

function figuresOf(contest: Contest, contender: string, rounds: readonly Round[]): Record<string, Spread> {
  const measured = contest.figures.filter(({ name }) => isMeasured(rounds, contender, name));
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
  const { figure, mustReach } = comparison;
  const ratio = ratioOf(comparison, figure, rounds);
  const isMore = contest.figures.find(({ name }) => name === figure)?.better === 'more';
  const isReached = (wanted: number): boolean => (isMore ? ratio.median >= wanted : ratio.median <= wanted);
  return {
    ...comparison,
    better: isMore ? 'more' : 'less',
    ratio,
    costRatio: costRatioOf(comparison, contest, rounds),
    reached: mustReach === null || !judged ? null : isReached(mustReach),
  };
}

function costRatioOf(comparison: Comparison, { costFigure }: Contest, rounds: readonly Round[]): Spread | null {
  const { contender, against, figure } = comparison;
  if (costFigure === null || costFigure === figure || against === null) return null;
  const isKnown = [contender, against].every((name) => isMeasured(rounds, name, costFigure));
  return isKnown ? ratioOf(comparison, costFigure, rounds) : null;
}

function ratioOf({ contender, against }: Comparison, figure: string, rounds: readonly Round[]): Spread {
  return spread(
    rounds.map(
      (round) => figureOf(round, contender, figure) / (against === null ? 1 : figureOf(round, against, figure)),
    ),
  );
}

function isMeasured(rounds: readonly Round[], contender: string, figure: string): boolean {
  return rounds.every((round) => figure in sampleOf(round, contender));
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
