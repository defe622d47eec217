import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Settings } from './question.ts';

/** No run takes nearly as long; one that hangs must not hold up the others for ever. */
const runMsMax = 10 * 60_000;

/**
 * Runs a compiled program of this bench with one JSON argument and resolves with the JSON value it prints. Its standard
 * error is ours.
 */
export async function runProgram(
  settings: Settings,
  program: string,
  argument: object,
  nodeArguments: readonly string[] = [],
): Promise<unknown> {
  const path = join(settings.programFolder, 'bench', program);
  const argv = [...nodeArguments, path, JSON.stringify(argument)];
  const child = spawn(process.execPath, argv, {
    stdio: ['ignore', 'pipe', 'inherit'],
    signal: settings.signal,
    timeout: runMsMax,
    killSignal: 'SIGKILL',
  });
  const output: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => output.push(piece));
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else
        reject(new Error(`${program} ended with ${signal ?? String(code)}; it was asked ${JSON.stringify(argument)}`));
    });
  });
  return JSON.parse(Buffer.concat(output).toString());
}
