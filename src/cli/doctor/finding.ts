import { quoteForShell } from '../../transport/ssh.ts';

/** One thing to do. */
export interface Cure {
  /** What it is for, in a few words. */
  readonly what: string;
  /** The command, ready to be copied; null where there is none. */
  readonly command: string | null;
  /** The machine it is for; null: this one. */
  readonly host: string | null;
}

/** Something that a check has found. */
export interface Finding {
  /** Name of the check. */
  readonly check: string;
  /** A `notice` is worth knowing and keeps nothing from working. */
  readonly severity: 'problem' | 'notice';
  /** What it is about: a dataset, a job, a file. */
  readonly subject: string;
  /** What is so, and why that is a problem. May have several lines. */
  readonly message: string;
  /** What to do, the best first. */
  readonly cures: readonly Cure[];
}

/** A command to be copied into a shell of this machine, from its words. */
export function cure(what: string, words: readonly string[]): Cure {
  return { what, command: words.map(quoteForShell).join(' '), host: null };
}

/** The same, for another machine. */
export function cureOn(host: string | null, what: string, words: readonly string[]): Cure {
  return { ...cure(what, words), host };
}

/** Something to do for which there is no command. */
export function advice(what: string): Cure {
  return { what, command: null, host: null };
}
