/** One thing measured in a run: `MB/s` of a copy. */
export interface Figure {
  readonly name: string;
  readonly better: 'more' | 'less';
  /** Digits shown after the point. */
  readonly digits: number;
}

/** What one run of a contender came to, by the names of the contest's figures; one it has no answer to is left out. */
export type Sample = Readonly<Record<string, number>>;

/** One way of doing the work of a contest. */
export interface Contender {
  readonly name: string;
  /** Does the work once. Rejects if the work was not done as it should be. */
  readonly run: () => Promise<Sample>;
}

/** A figure of one contender beside the same figure of another, in the same round. */
export interface Comparison {
  readonly contender: string;
  readonly against: string;
  readonly figure: string;
  /** Ratio wanted: at least this where more is better, at most where less is. Null: shown without a judgement. */
  readonly mustReach: number | null;
}

/** Ways of doing the same work, run in turn. */
export interface Contest {
  readonly title: string;
  readonly figures: readonly Figure[];
  readonly contenders: readonly Contender[];
  readonly comparisons: readonly Comparison[];
  /** What a reader must know to judge the figures. */
  readonly notes?: readonly string[];
  /** False where the kernel works on behalf of the contenders, which looks like other programs at work. Default true. */
  readonly discardNoisyRounds?: boolean;
}

/** How much is done. */
export interface Settings {
  /** Everything small: shows that the benches run, and nothing else. */
  readonly quick: boolean;
  /** A private folder for sockets and trees, removed afterwards. */
  readonly workFolder: string;
  /** Where this folder's programs and what they import have been compiled to. */
  readonly programFolder: string;
  /** Where CPU profiles go, or null. */
  readonly profileFolder: string | null;
}

/** One question asked of performance. */
export interface Question {
  /** For `--only`. */
  readonly name: string;
  readonly contests: (settings: Settings) => Promise<readonly Contest[]>;
}
