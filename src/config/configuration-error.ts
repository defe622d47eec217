/** What may be given beside the message. */
export interface ConfigurationErrorOptions extends ErrorOptions {
  readonly problems?: readonly string[];
}

/** A configuration file that cannot be used; the message names file, line and column. Exit code 2. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
  readonly code = 'CONFIGURATION';
  /** Each with its place, the line and a mark, as far as it has a place. Together they are the message. */
  readonly problems: readonly string[];

  constructor(message: string, options: ConfigurationErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.problems = options.problems ?? [message];
  }
}

/** The error of several problems. */
export function configurationProblems(problems: readonly string[]): ConfigurationError {
  return new ConfigurationError(problems.join('\n'), { problems });
}
