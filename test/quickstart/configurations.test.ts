import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { loadConfiguration } from '../../src/config/load-configuration.ts';
import { readQuickstart } from './read-quickstart.ts';

const docs = join(import.meta.dirname, '../../docs');
const quickstarts = readdirSync(docs).filter((name) => name.startsWith('quickstart-'));
const directory = mkdtempSync(join(tmpdir(), 'snapferry-quickstart-'));
afterAll(() => rmSync(directory, { recursive: true }));

test('there are four', () => {
  expect(quickstarts.map((name) => name.replace(/^quickstart-(.*)\.md$/, '$1')).sort()).toEqual([
    'directories',
    'pull-over-ssh',
    'push-to-tls-sink',
    'second-disk',
  ]);
});

describe.each(quickstarts)('%s', (name) => {
  const text = readFileSync(join(docs, name), 'utf8');

  test('every configuration in it is right, also those that are not played', () => {
    const blocks = [...text.matchAll(/^```yaml\n([^]*?)^```$/gm)].map((match) => match[1]!);
    expect(blocks.length).toBeGreaterThan(0);
    for (const block of blocks) {
      const file = join(directory, 'snapferry.yml');
      writeFileSync(file, block);
      expect(loadConfiguration(file).warnings, block).toEqual([]);
    }
  });

  test('every step can be read', () => {
    const kinds = readQuickstart(name.slice(0, -'.md'.length)).map(({ kind }) => kind);
    expect(new Set(kinds)).toEqual(new Set(['run', 'write', 'see']));
  });

  test('what it leads to is there', () => {
    const links = [...text.matchAll(/\]\(([^)#]+\.\w+)(?:#[^)]*)?\)/g)].map((match) => match[1]!);
    expect(links.length).toBeGreaterThan(0);
    for (const link of links) expect(() => readFileSync(join(docs, link)), link).not.toThrow();
  });
});
