import { defineConfig } from 'vitest/config';

/** Every mutant is met by the tests that reach it, one after the other: what takes seconds has no place here. */
const slow = [
  'test/rpc/recorded-cuts.test.ts',
  'test/rpc/version-2-faults.test.ts',
  'test/rpc/server/pipelining.test.ts',
  'test/rpc/server/transports.test.ts',
];

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 60_000,
    include: ['test/chunker/**/*.test.ts', 'test/rpc/**/*.test.ts', 'test/attack/silence.test.ts'],
    exclude: slow,
    env: { SNAPFERRY_SEED: '20261121', SNAPFERRY_FEW: '1' },
  },
});
