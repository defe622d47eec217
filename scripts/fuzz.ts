// The long mode of fuzzing: `npm run fuzz -- [--frames N] [--seed N] [--target NAME]`. Prints how far it is, and a summary;
// an input that breaks something that must hold is written to test/fixtures/fuzz, where the tests find it.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { runFuzz } from '../test/support/fuzz-run.ts';
import { fuzzTargets } from '../test/support/fuzz-targets.ts';

const { values } = parseArgs({
  options: {
    frames: { type: 'string', default: '10000000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    target: { type: 'string' },
  },
});
const frames = Number(values.frames);
const seed = Number(values.seed);
const targets = fuzzTargets.filter(({ name }) => values.target === undefined || name === values.target);
const share = targets.reduce((sum, target) => sum + target.share, 0);
// Millions of errors are made and looked at only for their codes.
Error.stackTraceLimit = 0;
const MiB = 1024 * 1024;
const printMs = 5000;
const rssBytesMax = 1024 * MiB;

process.on('unhandledRejection', (error) => {
  console.error('unhandled rejection:', error);
  process.exit(1);
});

console.log(`fuzzing ${frames} frames, seed ${seed}`);
let failures = 0;
let total = 0;
const summary: string[] = [];
for (const target of targets) {
  const startedMs = performance.now();
  let printedMs = startedMs;
  const goal = Math.ceil((frames * target.share) / share);
  const result = await runFuzz(target, {
    seed,
    framesMin: goal,
    onProgress: ({ frames: done }) => {
      const rss = process.memoryUsage.rss();
      if (rss > rssBytesMax) throw new Error(`memory is not bounded: ${rss} bytes`);
      if (performance.now() - printedMs < printMs) return;
      printedMs = performance.now();
      console.log(`${target.name}: ${done} of ${goal} frames, ${Math.round(rss / MiB)} MiB`);
    },
  });
  total += result.frames;
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  summary.push(`${target.name}: ${result.frames} spoilt frames in ${result.runs} runs, ${seconds} s`);
  if (result.failure === null) continue;
  failures++;
  const file = new URL(`../test/fixtures/fuzz/${target.name}-${seed}.json`, import.meta.url);
  writeFileSync(
    file,
    `${JSON.stringify({ target: target.name, found: result.failure.message, draws: result.failure.draws })}\n`,
  );
  summary.push(`${target.name}: FAILED, see ${file.pathname}\n${result.failure.message}`);
}
console.log([...summary, `${total} spoilt frames, seed ${seed}, ${failures} failures`].join('\n'));
process.exitCode = failures === 0 ? 0 : 1;
