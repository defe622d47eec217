import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const page = new URL('../docs/RELIABILITY.md', import.meta.url);
const text = readFileSync(page, 'utf8');
const rows = text.split('\n').filter((line) => /^\| (?!-|what must hold)/.test(line));
const links = [...text.matchAll(/\[([^\]]+)\]\(([^)]+)\)/g)].map(([, name = '', target = '']) => ({ name, target }));

describe('docs/RELIABILITY.md', () => {
  test('has promises', () => expect(rows.length).toBeGreaterThan(35));

  test.each(rows.map((row) => row.split('|').map((cell) => cell.trim())))(
    '|%s "%s" is held by a test',
    (_, what, held) => {
      expect(what.length).toBeGreaterThan(15);
      expect(held).toMatch(/\(\.\.\/test\/[\w/-]+\.test\.ts\)/);
    },
  );

  test.each([...new Map(links.map((link) => [link.target, link])).values()])(
    '$name is a test that is there, under that name',
    ({ name, target }) => {
      expect(target).toBe(`../test/${name}.test.ts`);
      const path = new URL(target, page);
      expect(existsSync(path), target).toBe(true);
      expect(readFileSync(path, 'utf8')).toMatch(/\b(test|it)(\.each)?[(<]|Platform\(|describe\w*\(/);
    },
  );
});
