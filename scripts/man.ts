/** Writes the manual pages of the program as it is now: `tsx scripts/man.ts DIRECTORY`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createProgram } from '../src/cli/program.ts';
import { manualPages } from './manual-page.ts';

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error('usage: tsx scripts/man.ts DIRECTORY');
mkdirSync(directory, { recursive: true });
const program = await createProgram();
for (const { file, roff } of manualPages(program, program.version() ?? '')) writeFileSync(join(directory, file), roff);
