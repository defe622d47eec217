import { statSync } from 'node:fs';
import { SnapferryError, type ErrorCode } from '../errors.ts';

/** Which command an error is about. */
export interface CommandIdentity {
  readonly argv: readonly [string, ...string[]];
  readonly cwd?: string | undefined;
  /** Code of the error when the command fails. Default `SOURCE_FAILED`. */
  readonly code?: ErrorCode | undefined;
}

const stderrCharactersQuoted = 4096;

const packageOf: Readonly<Record<string, string>> = {
  tar: 'tar',
  cp: 'coreutils',
  rm: 'coreutils',
  sync: 'coreutils',
  touch: 'coreutils',
  cat: 'coreutils',
  xargs: 'findutils',
  find: 'findutils',
  flock: 'util-linux',
};

/** The command as an error names it. */
export function describeCommand(command: CommandIdentity): string {
  return `"${command.argv.join(' ')}"${command.cwd === undefined ? '' : ` in ${command.cwd}`}`;
}

/** The error of a command that could not be started; says what to install when its program is missing. */
export function startFailure(command: CommandIdentity, error: Error): SnapferryError {
  const failed = (text: string): SnapferryError =>
    new SnapferryError(command.code ?? 'SOURCE_FAILED', `cannot run ${describeCommand(command)}: ${text}`, {
      cause: error,
    });
  const { code } = error as NodeJS.ErrnoException;
  const program = command.argv[0];
  // What is nowhere on the PATH is EACCES if this user may not look into one of its directories.
  const isUnfound = code === 'ENOENT' || (code === 'EACCES' && !program.includes('/'));
  if (!isUnfound) return failed(error.message);
  if (command.cwd !== undefined && statSync(command.cwd, { throwIfNoEntry: false }) === undefined) {
    return failed('there is no such directory');
  }
  const debian = packageOf[program];
  const advice = debian === undefined ? '' : `; install it (Debian: apt-get install ${debian})`;
  return failed(
    `the program "${program}" is not on the PATH${code === 'EACCES' ? ', or this user may not run it' : ''}${advice}`,
  );
}

/**
 * The error of a command that failed, with the end of what it wrote to stderr.
 * @param status exit status, or the signal that killed it
 */
export function exitFailure(
  command: CommandIdentity,
  status: number | NodeJS.Signals | null,
  stderr: string,
): SnapferryError {
  const how = typeof status === 'number' ? `exited with status ${status}` : `was killed by signal ${String(status)}`;
  const text = stderr.trim().slice(-stderrCharactersQuoted);
  const quoted = text === '' ? '' : `: ${text}`;
  return new SnapferryError(command.code ?? 'SOURCE_FAILED', `${describeCommand(command)} ${how}${quoted}`);
}
