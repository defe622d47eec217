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
  /** Null: the figure itself is held against what must be reached. */
  readonly against: string | null;
  readonly figure: string;
  /** Ratio wanted: at least this where more is better, at most where less is. Null: shown without a judgement. */
  readonly mustReach: number | null;
}

/** Ways of doing the same work, run in turn. */
export interface Contest {
  /** What is done, in a few words: what the final table says. */
  readonly subject: string;
  /** How much of it, for the reader of the details. */
  readonly extent: string;
  readonly figures: readonly Figure[];
  /** Name of the figure that says what the work costs, shown beside every ratio of another; null if there is none. */
  readonly costFigure: string | null;
  readonly contenders: readonly Contender[];
  /** Those that name an absent contender are left out. */
  readonly comparisons: readonly Comparison[];
  /** What a reader must know to judge the figures. */
  readonly notes?: readonly string[];
  /** False where others work on behalf of the contenders (the kernel, sshd), which looks like noise. Default true. */
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
  /** Fires when the whole run is to be given up. */
  readonly signal: AbortSignal;
}

/** What a question asks of a machine that may not have all it takes. */
export interface Asked {
  readonly contests: readonly Contest[];
  /** Stops and removes what the contests needed. */
  readonly release?: () => Promise<void>;
}

/** One question asked of performance. */
export interface Question {
  /** For `--only`. */
  readonly name: string;
  /** What the machine lacks to answer it and how to get it, or null. */
  readonly missing?: string | null;
  /** Prepares the contests. */
  readonly ask: (settings: Settings) => Promise<Asked>;
}
