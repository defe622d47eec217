import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { verifySnapshot } from '../../src/handlers/directory/verify.ts';
import { removeTree } from '../../src/handlers/directory/tree.ts';
import { describePlatform, missingPrograms } from '../support/platform.ts';
import { builtProgram } from '../support/run-program.ts';

const program = fileURLToPath(new URL('../fixtures/programs/few-descriptors.mjs', import.meta.url));
const spareMax = 20;

interface Line {
  readonly spare: number;
  readonly failed: { readonly name: string; readonly code: string; readonly message: string } | null;
  readonly there: readonly string[];
  readonly again: string | null;
}

let root: string;
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), 'snapferry-descriptors-'))));
afterEach(() => removeTree(root));

describePlatform('a process that may open no more files', missingPrograms(['prlimit'], 'util-linux'), () => {
  test('says so wherever it hits it, loses and locks nothing, and goes on once it may', async () => {
    const [live, copy] = [join(root, 'live'), join(root, 'copy')];
    mkdirSync(live);
    for (let index = 0; index < 20; index++) writeFileSync(join(live, `f${index}`), `content ${index}`);
    const dist = dirname(dirname(await builtProgram()));
    const { stdout } = await promisify(execFile)(process.execPath, [program, dist, live, copy, String(spareMax)]);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
    expect(lines).toHaveLength(spareMax + 1);
    for (const { spare, failed, there, again } of lines) {
      const when = `with ${spare} to spare: ${failed?.code ?? ''} ${failed?.message ?? 'done'}; then ${again ?? 'done'}`;
      if (failed !== null) {
        expect(failed.message, when).toMatch(/EMFILE|[Tt]oo many open files/);
        expect(there, when).not.toContain(`few-${spare}`);
      } else {
        expect(there, when).toContain(`few-${spare}`);
      }
      expect(again, when).toBeNull();
    }
    console.log(lines.map(({ failed }) => failed?.code ?? 'done').join(' '));
    expect(lines[0]?.failed).not.toBeNull();
    expect(lines.at(-1)?.failed).toBeNull();
    for (const name of readdirSync(join(copy, 'snapshots'))) {
      expect((await verifySnapshot(copy, name)).damaged, name).toEqual([]);
    }
    expect(readdirSync(join(copy, 'staging'))).toEqual([]);
  });
});
