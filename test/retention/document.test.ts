import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { KeepRule } from '../../src/config/pruning-settings.ts';
import { planRetention } from '../../src/retention/plan-retention.ts';
import { renderRetention } from '../../src/retention/render-retention.ts';
import { parseVersionList } from '../../src/retention/version-list.ts';
import { nothingElse } from './memory-destroyer.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/retention.md'), 'utf8');

/** The block of the page with this language. */
function block(language: string): string {
  const [, found] = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'ms').exec(page) ?? [];
  return found!;
}

test('the example of docs/retention.md is true', () => {
  // As the configuration has them: what it reads is what the planner takes.
  const rules: readonly KeepRule[] = [
    { type: 'last_n', count: 2, regex: '^zrepl_' },
    { type: 'grid', grid: '1x1h(keep=all) | 2x1h | 1x1d', regex: '^zrepl_' },
  ];
  const versions = parseVersionList(block('list'));
  const plan = planRetention({
    ...nothingElse,
    versions,
    rules,
    others: 'keep',
    now: new Date('2027-06-01T00:00:00Z'),
  });
  expect(renderRetention(plan, { format: 'text', dataset: 'example' })).toBe(block('plan'));
});
