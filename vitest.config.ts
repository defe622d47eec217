import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // The suites start processes and this has to pass on two cores.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // By default a processor is left out, which of two is half; most tests wait for a child anyway.
    maxWorkers: availableParallelism(),
    reporters: ['default', './test/support/closing-line-reporter.ts'],
    coverage: { provider: 'v8', include: ['src/**'] },
  },
});
