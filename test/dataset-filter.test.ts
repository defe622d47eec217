import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseDatasetFilter } from '../src/dataset-filter.ts';

const meant = (rules: Record<string, boolean>, ...names: string[]) => {
  const filter = parseDatasetFilter(rules);
  return names.filter((name) => filter.matches(name.split('/')));
};

describe('parseDatasetFilter', () => {
  it('takes a pattern without a mark for that dataset alone', () => {
    expect(meant({ 'tank/home': true }, 'tank', 'tank/home', 'tank/home/ann', 'tank/homes')).toEqual(['tank/home']);
  });

  it('takes a mark for the dataset and all below it, and a mark alone for everything', () => {
    expect(meant({ 'tank<': true }, 'tank', 'tank/home', 'tank/home/ann', 'tanker', 'pool')).toEqual([
      'tank',
      'tank/home',
      'tank/home/ann',
    ]);
    expect(meant({ '<': true }, 'tank', 'pool/a')).toEqual(['tank', 'pool/a']);
  });

  it('lets the most specific pattern decide, wherever it stands', () => {
    const rules = { 'tank/tmp/keep<': true, 'tank/tmp': true, 'tank/tmp<': false, 'tank<': true };
    const names = ['tank', 'tank/a', 'tank/tmp', 'tank/tmp/x', 'tank/tmp/keep', 'tank/tmp/keep/y'];
    expect(meant(rules, ...names)).toEqual(['tank', 'tank/a', 'tank/tmp', 'tank/tmp/keep', 'tank/tmp/keep/y']);
    expect(meant(Object.fromEntries(Object.entries(rules).reverse()), ...names)).toEqual(meant(rules, ...names));
  });

  it('means nothing by default', () => {
    expect(meant({}, 'tank')).toEqual([]);
    expect(meant({ 'tank<': false }, 'tank', 'pool')).toEqual([]);
  });

  it('tells where what it means can be found', () => {
    expect(parseDatasetFilter({ 'tank<': true, 'tank/tmp<': false, 'pool/x': true, '<': true }).roots).toEqual([
      { path: ['tank'], isSubtree: true },
      { path: ['pool', 'x'], isSubtree: false },
      { path: [], isSubtree: true },
    ]);
  });

  it.each([[['tank/home']], [['tank', '']], [[]], [['', 'tank']]])('never means the path %j, which is none', (path) => {
    expect(parseDatasetFilter({ '<': true, 'tank<': true, 'tank/home': true }).matches(path)).toBe(false);
  });

  it.each([
    ['', /pattern "" is empty/],
    ['tank<x', /pattern "tank<x" has a "<" that is not at its end/],
    ['<tank', /"<" that is not at its end/],
    ['tank<<', /"<" that is not at its end/],
    ['/tank', /pattern "\/tank" begins with a slash/],
    ['tank/', /pattern "tank\/" has a slash at its end; "tank<" means/],
    ['tank/<', /slash at its end; "tank<" means/],
    ['tank//a', /pattern "tank\/\/a" names no dataset: .*empty component/],
    ['tank/../a<', /component "\.\."/],
    ['tank/a\nb', /control character/],
  ])('refuses %j and names it', (pattern, message) => {
    expect(() => parseDatasetFilter({ 'pool<': true, [pattern]: true })).toThrow(message);
    expect(() => parseDatasetFilter({ [pattern]: false })).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }) as Error,
    );
  });

  it('refuses a pattern that is there twice', () => {
    const rules = [['tank<', true] as const, ['tank<', false] as const];
    expect(() => parseDatasetFilter(rules)).toThrow(/pattern "tank<" is there twice/);
  });

  it('agrees with a naive reading of the rules', () => {
    const component = fc.constantFrom('a', 'b', 'ab');
    const path = fc.array(component, { minLength: 1, maxLength: 4 });
    const pattern = fc.oneof(
      path.map((components) => components.join('/')),
      path.map((components) => `${components.join('/')}<`),
      fc.constant('<'),
    );
    fc.assert(
      fc.property(fc.dictionary(pattern, fc.boolean(), { maxKeys: 8 }), path, (rules, filesystem) => {
        expect(parseDatasetFilter(rules).matches(filesystem)).toBe(naively(rules, filesystem.join('/')));
      }),
      { numRuns: 2000 },
    );
  });
});

/** Every pattern is tried, and the winner is the one with the highest rank. */
function naively(rules: Record<string, boolean>, name: string): boolean {
  const ranked = Object.entries(rules).flatMap(([pattern, isMeant]) => {
    if (pattern === name) return [{ rank: Infinity, isMeant }];
    if (pattern === '<') return [{ rank: 0, isMeant }];
    const root = pattern.slice(0, -1);
    const covers = pattern.endsWith('<') && (name === root || name.startsWith(`${root}/`));
    return covers ? [{ rank: root.length, isMeant }] : [];
  });
  return ranked.sort((a, b) => b.rank - a.rank)[0]?.isMeant ?? false;
}
