import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Draw } from '../support/fuzz-frames.ts';
import { runFuzz } from '../support/fuzz-run.ts';
import { fuzzTargets } from '../support/fuzz-targets.ts';
import { memoryGauge } from '../support/held-memory.ts';
import { testSeed } from '../support/scripted-peer.ts';

// Some seconds of what `npm run fuzz` does for long.
const framesTotal = 60_000;
const MiB = 1024 * 1024;

describe(`spoilt frames, some seconds of them (scenario 4, SNAPFERRY_SEED=${testSeed})`, () => {
  test.each(fuzzTargets)('$name', async (target) => {
    const watch = await memoryGauge();
    const { failure, frames } = await runFuzz(target, { seed: testSeed, framesMin: framesTotal * target.share });
    expect(failure).toBeNull();
    expect(frames).toBeGreaterThanOrEqual(framesTotal * target.share);
    await watch.sample();
    expect(watch.grownBytesMax).toBeLessThan(16 * MiB);
  });
});

interface Found {
  readonly target: string;
  readonly draws: readonly Draw[];
}

const folder = new URL('../fixtures/fuzz/', import.meta.url);
const found = readdirSync(folder).map((name) => {
  const { target, draws } = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Found;
  return { name, target: fuzzTargets.find((one) => one.name === target), draws };
});

test.each(found)('$name, found once, is harmless', async ({ target, draws }) => {
  expect(target).toBeDefined();
  expect(await target!.check(draws)).toBeGreaterThanOrEqual(0);
});
