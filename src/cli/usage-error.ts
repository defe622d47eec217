/** The command line asks for something that makes no sense; nothing has been done. Exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'USAGE';
}
