import { createHash } from 'node:crypto';

/** Something that somebody is told of, for as long as it lasts. Plain data. */
export interface Trouble {
  /**
   * `run`: a run, or a dataset in it, failed. `listen`: a job that serves cannot be reached. `stale`: the newest snapshot of a
   * dataset is older than it may be.
   */
  readonly kind: 'run' | 'listen' | 'stale';
  readonly job: string;
  /** The client, where a push of one failed; else null. */
  readonly identity: string | null;
  /** Null: the job as a whole. */
  readonly dataset: string | null;
  readonly code: string;
  readonly message: string;
  /** The next thing to do; null when nothing is known. */
  readonly advice: string | null;
  /** When it began, in ms since 1970. */
  readonly sinceMs: number;
}

/** What a trouble is about: two with the same subject cannot be there at once. */
export type TroubleSubject = Pick<Trouble, 'kind' | 'job' | 'identity' | 'dataset'>;

const messageCharactersMax = 1000;
const nameCharactersMax = 300;

/** Makes a text that came from a peer or a tool fit to be told: one line, no control characters, bounded. */
export function tellable(text: string, charactersMax = messageCharactersMax): string {
  const line = text
    .slice(0, 4 * charactersMax)
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+/gu, ' ')
    .trim();
  return line.length > charactersMax ? `${line.slice(0, charactersMax - 1)}…` : line;
}

/** A trouble with its texts made fit to be told. Names stay as they are: programs want them exact. */
export function tellableTrouble(trouble: Trouble): Trouble {
  return {
    ...trouble,
    code: tellable(trouble.code, nameCharactersMax),
    message: tellable(trouble.message),
    advice: trouble.advice === null ? null : tellable(trouble.advice),
  };
}

/** A name made fit to be told. */
export function tellableName(name: string): string {
  return tellable(name, nameCharactersMax);
}

/** A short text that is the same for the same subject, and for no other. */
export function subjectKey({ kind, job, identity, dataset }: TroubleSubject): string {
  // Of bounded length, however long the names are that a client chooses.
  return createHash('sha256')
    .update(JSON.stringify([kind, job, identity, dataset]))
    .digest('base64url');
}
