import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const programs = fileURLToPath(new URL('../fixtures/programs/', import.meta.url));
const tsx = import.meta.resolve('tsx');

/** A program of test/fixtures/programs under way. */
export interface ChildProgram {
  readonly pid: number;
  /** The first line it printed. */
  readonly line: string;
  kill(signal: NodeJS.Signals): void;
  /** Kills it and waits for its end. */
  stop(): Promise<void>;
}

/** How to start a program written in TypeScript, without a shell. */
export function childArgv(program: string, ...args: readonly string[]): [string, ...string[]] {
  return [process.execPath, '--import', tsx, `${programs}${program}`, ...args];
}

/** Starts one and waits for its first line. */
export async function childProgram(program: string, ...args: readonly string[]): Promise<ChildProgram> {
  const [node, ...rest] = childArgv(program, ...args);
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(node, rest, {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  let text = '';
  child.stdout.setEncoding('utf8');
  await Promise.race([
    (async () => {
      while (!text.includes('\n')) text += String((await once(child.stdout, 'data'))[0]);
    })(),
    exited.then(() => Promise.reject(new Error(`${program} ended before it was ready`))),
  ]);
  return {
    pid: child.pid ?? -1,
    line: text.trim(),
    kill: (signal) => void child.kill(signal),
    async stop() {
      child.kill('SIGCONT');
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** The state letter of a process (`S`, `T` for stopped, `Z` …), or null when it is gone. */
export function processState(pid: number): string | null {
  if (!existsSync(`/proc/${pid}/stat`)) return null;
  try {
    return /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? null;
  } catch {
    return null;
  }
}

/** The children of this process. */
export function childPids(): number[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}
