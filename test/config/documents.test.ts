import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { WarningCode } from '../../src/config/configuration.ts';
import { readConfiguration } from '../../src/config/load-configuration.ts';

const docs = join(import.meta.dirname, '../../docs');
const text = readFileSync(join(docs, 'configuration.md'), 'utf8');
const blocks = [...text.matchAll(/```yaml\n(.*?)```/gs)]
  .map((match) => match[1]!)
  .filter((block) => !/^include:/.test(block));

describe('docs/configuration.md', () => {
  test.each(blocks)('shows what can be used: %#', (block) => {
    expect(readConfiguration(block, 'shown.yml').warnings.filter(({ code }) => code !== 'no_jobs')).toEqual([]);
  });

  test('shows some', () => expect(blocks.length).toBeGreaterThan(3));

  test('explains every warning', () => {
    const codes: Record<WarningCode, true> = {
      no_pruning: true,
      prunes_unreplicated: true,
      prunes_last_common: true,
      pruned_twice: true,
      shared_target: true,
      sink_in_source: true,
      never_runs: true,
      never_stale: true,
      no_jobs: true,
    };
    for (const code of Object.keys(codes)) expect(text).toContain(`| \`${code}\``);
  });
});

test.each(['configuration.md', 'from-zrepl.md'])('the links of docs/%s lead somewhere', (name) => {
  const links = [...readFileSync(join(docs, name), 'utf8').matchAll(/\]\(([^)#:]+)\)/g)].map((match) => match[1]!);
  for (const link of links) expect(existsSync(join(docs, link)), link).toBe(true);
});
