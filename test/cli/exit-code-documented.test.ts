import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { exitCodeOf, exitCodes } from '../../src/cli/exit-code.ts';
import { errorCodes } from '../../src/errors.ts';
import { conflictCode } from '../../src/replication/replication.ts';

const manual = readFileSync(new URL('../../docs/CLI.md', import.meta.url), 'utf8');
const [, chapter = ''] = /^## Exit codes\n(.*?)^## /ms.exec(manual) ?? [];
const documented = [...chapter.matchAll(/^\| (\d+) +\| (.+?) *\|$/gm)].map(([, code, meaning]) => ({
  code: Number(code),
  meaning: meaning ?? '',
}));

test('the manual has a meaning for each exit code, and for no other', () => {
  expect(documented.map(({ code }) => code)).toEqual(Object.values(exitCodes));
  for (const { code, meaning } of documented) expect(meaning.length, String(code)).toBeGreaterThan(3);
});

test.each([...errorCodes, conflictCode, 'USAGE', 'CONFIGURATION', 'of a newer peer'])(
  'a failure %s never ends in 0, and in a code that the manual has',
  (code) => {
    for (const retryable of [undefined, true, false]) {
      const exit = exitCodeOf({ code, retryable });
      expect(exit).not.toBe(exitCodes.done);
      expect(documented.map((row) => row.code)).toContain(exit);
    }
  },
);
