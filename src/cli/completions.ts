import type { Argument, Command, Option } from 'commander';

/** Something that may stand where the cursor is. */
export interface Candidate {
  readonly value: string;
  /** One line; may be empty. */
  readonly description: string;
}

/** What may stand where the cursor is. */
export interface Completions {
  readonly candidates: readonly Candidate[];
  /** Whether a file may stand there, too, which the shell knows best. */
  readonly files: boolean;
}

/** Jobs of the configuration of that name; null: of the usual one. */
export type JobsOf = (configuration: string | null) => readonly Candidate[];

const nothing: Completions = { candidates: [], files: false };
const aFile: Completions = { candidates: [], files: true };

/**
 * What may stand at the end of a command line, read off the program itself: commands, options, the choices of either, and the names of
 * jobs. Of a command whose module was not loaded nothing is known.
 * @param words what was typed after the name of the program, as the shell has it; the last is the one to be completed, and may be empty
 */
export function completionsFor(program: Command, words: readonly string[], jobsOf: JobsOf): Completions {
  const typed = words.at(-1) ?? '';
  const line = readLine(program, words.slice(0, -1));
  const { values, isOption } = at(line, typed);
  const sought = isOption && typed.includes('=') ? typed.slice(typed.indexOf('=') + 1) : typed;
  const { candidates, files } = values(() => jobsOf(line.configuration));
  return { candidates: candidates.filter(({ value }) => value.startsWith(sought)), files };
}

/** What has been said before the word at the cursor. */
interface Line {
  readonly command: Command;
  /** The one it is below. */
  readonly above: Command;
  /** How many arguments the command has already. */
  readonly argumentsGiven: number;
  /** The option that waits for its value. */
  readonly pending: Option | null;
  /** After `--`. */
  readonly isPastOptions: boolean;
  /** What `--config` says. */
  readonly configuration: string | null;
}

function readLine(program: Command, words: readonly string[]): Line {
  let line: Line = {
    command: program,
    above: program,
    argumentsGiven: 0,
    pending: null,
    isPastOptions: false,
    configuration: null,
  };
  for (const word of words) line = afterWord(line, word);
  return line;
}

function afterWord(line: Line, word: string): Line {
  const { command, pending, isPastOptions, argumentsGiven } = line;
  if (pending !== null) return { ...withValue(line, pending, word), pending: null };
  if (!isPastOptions && word === '--') return { ...line, isPastOptions: true };
  if (!isPastOptions && isFlag(word)) {
    const [name, value] = splitFlag(word);
    const option = optionNamed(command, name);
    if (option === null || !takesValue(option)) return line;
    return value === null ? { ...line, pending: option } : withValue(line, option, value);
  }
  const below = argumentsGiven === 0 ? subcommands(command).find((one) => one.name() === word) : undefined;
  return below === undefined
    ? { ...line, argumentsGiven: argumentsGiven + 1 }
    : { ...line, command: below, above: command };
}

function withValue(line: Line, option: Option, value: string): Line {
  return option.long === '--config' ? { ...line, configuration: value } : line;
}

/** What may be at the cursor, once it is known which jobs there are. */
interface Position {
  readonly isOption: boolean;
  readonly values: (jobs: () => readonly Candidate[]) => Completions;
}

function at({ command, above, argumentsGiven, pending, isPastOptions }: Line, typed: string): Position {
  if (pending !== null) return { isOption: false, values: (jobs) => valuesOf(pending, jobs) };
  if (!isPastOptions && isFlag(typed)) {
    const [name, value] = splitFlag(typed);
    if (value === null) return { isOption: true, values: () => optionsOf(command) };
    const option = optionNamed(command, name);
    return { isOption: true, values: (jobs) => (option === null ? nothing : valuesOf(option, jobs)) };
  }
  const commands = argumentsGiven === 0 ? subcommands(command) : [];
  if (commands.length > 0) return { isOption: false, values: () => ({ candidates: named(commands), files: false }) };
  const last = command.registeredArguments.at(-1);
  const argument = command.registeredArguments[argumentsGiven] ?? (last?.variadic === true ? last : undefined);
  if (argument === undefined) return { isOption: false, values: () => nothing };
  return { isOption: false, values: (jobs) => valuesOfArgument(argument, above, jobs) };
}

function isFlag(word: string): boolean {
  return word.startsWith('-');
}

function splitFlag(word: string): readonly [name: string, value: string | null] {
  const equals = word.startsWith('--') ? word.indexOf('=') : -1;
  return equals < 0 ? [word, null] : [word.slice(0, equals), word.slice(equals + 1)];
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function visibleOptions(command: Command): readonly Option[] {
  return command.createHelp().visibleOptions(command);
}

function optionNamed(command: Command, name: string): Option | null {
  return visibleOptions(command).find(({ short, long }) => name === short || name === long) ?? null;
}

function optionsOf(command: Command): Completions {
  const candidates = visibleOptions(command).flatMap(({ short, long, description }) =>
    [long, short].filter((name) => name !== undefined).map((value) => ({ value, description })),
  );
  return { candidates, files: false };
}

function subcommands(command: Command): readonly Command[] {
  return command.createHelp().visibleCommands(command);
}

function named(commands: readonly Command[]): readonly Candidate[] {
  return commands.map((command) => ({
    value: command.name(),
    description: command.summary() || command.description(),
  }));
}

function chosen(choices: readonly string[]): Completions {
  return { candidates: choices.map((value) => ({ value, description: '' })), files: false };
}

/** By the word that stands for the value in the help: a job, or else most likely a file. */
function valuesOf(option: Option, jobs: () => readonly Candidate[]): Completions {
  if (option.argChoices !== undefined) return chosen(option.argChoices);
  return /[<[]job[\]>.]/.test(option.flags) ? { candidates: jobs(), files: false } : aFile;
}

function valuesOfArgument(argument: Argument, above: Command, jobs: () => readonly Candidate[]): Completions {
  if (argument.argChoices !== undefined) return chosen(argument.argChoices);
  if (argument.name() === 'job') return { candidates: jobs(), files: false };
  // `help COMMAND`
  if (argument.name() === 'command') return { candidates: named(subcommands(above)), files: false };
  return aFile;
}
