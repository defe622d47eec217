import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

const docs = join(import.meta.dirname, '../../docs');
const text = readFileSync(join(docs, 'jobs.md'), 'utf8');

describe('docs/jobs.md', () => {
  test('names what a hook finds in its environment', () => {
    const code = readFileSync(join(docs, '../src/jobs/snapshot-hooks.ts'), 'utf8');
    const facts = /const facts = \{(.*?)\n {2}\};/s.exec(code)![1]!;
    const names = [...facts.matchAll(/^ +([A-Z]+):/gm)].map((match) => match[1]!);
    expect(names.length).toBeGreaterThan(3);
    for (const name of names) expect(text).toContain(`\`SNAPFERRY_${name}\``);
  });

  test('says what a run of each type does', () => {
    for (const type of ['snap', 'source', 'push', 'pull', 'sink', 'local']) expect(text).toContain(`| \`${type}\``);
  });

  test('has links that lead somewhere', () => {
    const links = [...text.matchAll(/\]\(([^)#:]+)\)/g)].map((match) => match[1]!);
    for (const link of links) expect(existsSync(join(docs, link)), link).toBe(true);
  });
});
