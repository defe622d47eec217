import { expect, test } from 'vitest';
import { parseMachineTimes } from '../../bench/foreign-work.ts';

test('the first line of /proc/stat is taken apart', () => {
  const text = 'cpu  100 20 30 4000 500 6 7 800 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n';
  expect(parseMachineTimes(text)).toEqual({ busySeconds: 1.63, stolenSeconds: 8 });
});

test('a text without such a line says nothing', () => {
  expect(parseMachineTimes('cpu0 1 2 3 4\n')).toBeNull();
});
