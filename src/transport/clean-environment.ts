const kept = ['PATH', 'HOME', 'USER', 'LOGNAME', 'TMPDIR', 'SSH_AUTH_SOCK'] as const;

/**
 * The environment child processes get: what is needed to find programs, the user's files and the ssh agent, and
 * `LC_ALL=C` so that messages are the ones we know. Nothing else of this process's environment reaches them.
 */
export function cleanEnvironment(from: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const environment: Record<string, string> = { LC_ALL: 'C' };
  for (const name of kept) {
    const value = from[name];
    if (value !== undefined) environment[name] = value;
  }
  return environment;
}
