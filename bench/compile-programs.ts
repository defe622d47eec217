import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const packageFolder = fileURLToPath(new URL('..', import.meta.url));
const compiler = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url));

/**
 * Compiles the programs of this folder and what they import from src into `folder`, as the published package is compiled, so
 * that what is measured is the present source and no loader is part of it. Types are not checked: that is not what is asked.
 */
export async function compilePrograms(folder: string): Promise<void> {
  const argv = [compiler, '-p', 'bench', '--noCheck', '--outDir', folder, '--pretty', 'false'];
  const child = spawn(process.execPath, argv, { cwd: packageFolder, stdio: ['ignore', 'pipe', 'inherit'] });
  const output: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => output.push(piece));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (status === 0) return;
  throw new Error(`cannot compile the programs to be measured: ${Buffer.concat(output).toString()}`);
}
