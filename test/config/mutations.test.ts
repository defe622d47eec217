import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { ConfigurationError } from '../../src/config/configuration-error.ts';
import { readConfiguration } from '../../src/config/load-configuration.ts';
import { importZrepl } from '../../src/config/zrepl/import-zrepl.ts';

const root = join(import.meta.dirname, '../..');
const textsIn = (folder: string) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.yml') && !name.startsWith('include') && !name.startsWith('many-servers'))
    .map((name) => readFileSync(join(root, folder, name), 'utf8'));

const values = fc.oneof(
  fc.constantFrom(
    null,
    true,
    0,
    -1,
    1e9,
    '',
    ' ',
    '<',
    '10m',
    'zfs',
    'local',
    '__proto__',
    '../..',
    'a\nb',
    '\u0000',
    '-x',
  ),
  fc.constantFrom([], [[]], {}, { type: 'x' }, { constructor: 1 }, [null]),
);

type Tree = Record<string, unknown>;

/** Every place in a value that something can be put at: what holds it, and its key. */
function places(value: unknown): [holder: Tree, key: string][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.keys(value).flatMap((key) => [[value as Tree, key] as [Tree, string], ...places((value as Tree)[key])]);
}

const changes = fc.array(
  fc.record({ place: fc.nat(), value: values, what: fc.constantFrom('set', 'remove', 'rename') }),
  {
    minLength: 1,
    maxLength: 3,
  },
);

function changed(text: string, edits: readonly { place: number; value: unknown; what: string }[]): string {
  const tree = parse(text) as unknown;
  for (const { place, value, what } of edits) {
    const all = places(tree);
    const [holder, key] = all[place % Math.max(1, all.length)] ?? [];
    if (holder === undefined || key === undefined) continue;
    const before = holder[key];
    if (what === 'set') holder[key] = structuredClone(value);
    else if (!Array.isArray(holder)) {
      Reflect.deleteProperty(holder, key);
      if (what === 'rename') holder[`${key}s`] = before;
    }
  }
  return stringify(tree);
}

/** Whether a text is read or refused; anything else is thrown. */
function isRead(read: () => unknown, file: string): boolean {
  try {
    read();
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    for (const problem of (error as ConfigurationError).problems) expect(problem).toContain(file);
    return false;
  }
}

test('a changed configuration is read, or refused with a place; never anything else', () => {
  const outcomes = new Set<boolean>();
  fc.assert(
    fc.property(fc.constantFrom(...textsIn('examples/config')), changes, (text, edits) => {
      const mutant = changed(text, edits);
      outcomes.add(isRead(() => readConfiguration(mutant, 'mutant.yml'), 'mutant.yml:'));
    }),
    { numRuns: 150 },
  );
  expect(outcomes).toEqual(new Set([true, false]));
});

test('a changed configuration of zrepl is taken over, or refused; never anything else', () => {
  const outcomes = new Set<boolean>();
  fc.assert(
    fc.property(fc.constantFrom(...textsIn('test/fixtures/zrepl')), changes, (text, edits) => {
      const mutant = changed(text === '' ? 'jobs: []' : text, edits);
      outcomes.add(isRead(() => importZrepl('/mutant.yml', () => mutant), '/mutant.yml'));
    }),
    { numRuns: 150 },
  );
  expect(outcomes).toEqual(new Set([true, false]));
});
