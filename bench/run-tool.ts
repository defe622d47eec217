import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Runs a tool to its end and resolves with what it printed; rejects with its standard error if it failed. */
export async function runTool(program: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await execute(program, args, { maxBuffer: 16 * 1024 * 1024 });
  return stdout;
}

/** First line of what `program --version` prints, or null where it is not installed. */
export async function toolVersion(program: string): Promise<string | null> {
  try {
    return (await runTool(program, '--version')).split('\n')[0] ?? '';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
