import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../src/errors.ts';
import { compileNamePattern } from '../src/name-pattern.ts';

function refusal(source: string): string {
  try {
    compileNamePattern(source);
  } catch (error) {
    if (error instanceof SnapferryError && error.code === 'INVALID_REQUEST') return error.message;
    throw error;
  }
  throw new Error(`${source} was taken`);
}

describe('a pattern of names', () => {
  test.each([
    ['^zrepl_.*', 'zrepl_20260101', 'my_zrepl_1'],
    ['^zrepl_.*$', 'zrepl_', 'xzrepl_'],
    ['', 'anything', null],
    ['.*', 'anything', null],
    ['.*daily.*', 'my-daily-1', 'my-weekly-1'],
    ['^(zrepl|manual)_.*', 'manual_1', 'other_1'],
    ['^(?:a|b)c$', 'bc', 'abc'],
    ['(?i)^ZREPL', 'zrepl_1', 'repl'],
    ['^(?P<prefix>auto)-\\d{4}$', 'auto-2026', 'auto-26'],
    ['^(?<prefix>auto)$', 'auto', 'automatic'],
    ['\\Aa\\z', 'a', 'ab'],
    ['^[[:alpha:]]+$', 'abc', 'ab1'],
    ['^[[:digit:]_-]+$', '1_-2', 'a'],
    ['^[^a-c\\d]$', 'x', '1'],
    ['^[]a]$', ']', 'b'],
    ['^a\\-b\\_c\\.d$', 'a-b_c.d', 'a-b_cxd'],
    ['^[a\\-z]$', '-', 'b'],
    ['^\\x41\\x{42}$', 'AB', 'ab'],
    ['^a{2,3}$', 'aaa', 'a'],
    ['^a{2}$', 'aa', 'aaa'],
    ['^{x}$', '{x}', 'x'],
    ['^.+?_x$', 'a_x', '_x'],
    ['^(ab)*$', 'ababab', 'aba'],
    ['^ä.$', 'äö', 'a'],
    ['\\bday\\b', 'a-day-1', 'today'],
  ])('%j takes %j and leaves %j', (source, taken, left) => {
    const pattern = compileNamePattern(source);
    expect(pattern.test(taken)).toBe(true);
    if (left !== null) expect(pattern.test(left)).toBe(false);
    expect(pattern.test(taken), 'it has no state').toBe(true);
  });

  test.each([
    ['a)', 2, '")" without "("'],
    ['(a', 1, '"(" without ")"'],
    ['[a', 1, '"[" without "]"'],
    ['a\\', 2, 'at the end'],
    ['*a', 1, 'nothing to repeat'],
    ['a**', 3, 'nothing to repeat'],
    ['a{3,2}', 1, 'no range'],
    ['a{1001}', 1, 'no range'],
    ['(?=a)', 1, 'no looking around'],
    ['(?<!a)b', 1, 'no looking around'],
    ['a(?i)b', 2, 'flags go to the very beginning'],
    ['(?U)a', 1, 'the flag "U"'],
    ['(a)\\1', 4, 'no references'],
    ['\\pL', 1, 'the escape \\p'],
    ['[[:funny:]]', 2, 'the class [:funny:]'],
    ['[z-a]', 1, 'Range out of order'],
  ])('%j is refused at column %i', (source, column, why) => {
    const message = refusal(source);
    expect(message).toContain(`column ${column}: `);
    expect(message).toContain(why);
  });

  test.each([
    '^(a+)+$',
    '^(a*)*b',
    '^(a|a)*b',
    '^(a|ab)*c$',
    '^(a?){30}a{30}$',
    '^.*a.*b.*c$',
    'a.*b.*c.*d',
    '^(.*,){9}x$',
  ])('%j could keep us busy', (source) => {
    expect(refusal(source)).toContain('too many ways');
  });

  test('the longest names are done with at once', () => {
    // Without the bound, one of these would run for longer than the universe.
    const names = ['a'.repeat(255), 'ab'.repeat(127), `${'b'.repeat(254)}c`];
    const taken = ['^.*a.*b$', '.*a.*', 'a.*b', '^[ab]*[bc]*$', '^(ab)*$'].map((source) => {
      const pattern = compileNamePattern(source);
      return names.map((name) => pattern.test(name));
    });
    expect(taken).toEqual([
      [false, true, false],
      [true, true, false],
      [false, true, false],
      [true, true, true],
      [false, true, false],
    ]);
  });

  test('any text is read or refused, and agrees with JavaScript where both read it', () => {
    const alphabet = Array.from('ab_.*+?()[]|^$\\d{},1-');
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...alphabet), maxLength: 12 }), fc.string(), (source, name) => {
        let ours: RegExp;
        let theirs: RegExp;
        try {
          ours = compileNamePattern(source);
        } catch (error) {
          expect((error as SnapferryError).code).toBe('INVALID_REQUEST');
          return;
        }
        try {
          theirs = new RegExp(source, 'u');
        } catch {
          return;
        }
        // In Go, and so here, a "]" that comes first in a class is one of its members.
        if (/\[\^?\]/.test(source)) return;
        expect(ours.test(name)).toBe(theirs.test(name));
      }),
    );
  });
});
