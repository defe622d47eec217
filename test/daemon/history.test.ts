import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { History } from '../../src/daemon/history.ts';
import { writeHistoryLine } from '../../src/daemon/history-record.ts';
import { readHistory } from '../../src/daemon/read-history.ts';
import type { BegunRun } from '../../src/daemon/history-record.ts';
import { datasetResult, runResult, runVersion } from '../support/job-results.ts';
import { seededRandom } from '../support/seeded-random.ts';

const day = 24 * 3_600_000;
let stateDir: string;
let file: string;

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'snapferry-history-'));
  file = join(stateDir, 'history.ndjson');
});
afterEach(() => rmSync(stateDir, { recursive: true, force: true }));

function begun(run: string, beganMs: number): BegunRun {
  return { run, job: 'web1', cause: 'schedule', identity: null, beganMs };
}

async function written(add: (history: History) => Promise<void>): Promise<void> {
  await using history = await History.open(stateDir);
  await add(history);
}

describe('what is written', () => {
  test('is read again, also beside the daemon that writes it', async () => {
    await using history = await History.open(stateDir);
    const result = runResult('r1', 1000, { datasets: [datasetResult('tank/\u2028home "x"\n')] });
    await history.began(begun('r1', 1000));
    await history.ended(result);
    await history.began(begun('r2', 2000));
    const { fold, notices } = await readHistory(stateDir);
    expect(notices).toEqual([]);
    expect(fold.jobs.get('web1')?.lastRun).toEqual(result);
    expect([...fold.begun.keys()]).toEqual(['r2']);
  });

  test('there is nothing where there is no file, and none is made by looking', async () => {
    const { fold } = await readHistory(join(stateDir, 'nothing'));
    expect(fold.jobs.size).toBe(0);
    expect(() => statSync(join(stateDir, 'nothing'))).toThrow('ENOENT');
  });

  test('is for its owner only', async () => {
    await written((history) => history.ended(runResult('r1', 0)));
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  test('many at once arrive in order', async () => {
    await written(async (history) => {
      await Promise.all(Array.from({ length: 50 }, (_, index) => history.ended(runResult(`r${index}`, index))));
    });
    const runs = readFileSync(file, 'utf8').match(/"run":"r\d+"/g);
    expect(runs).toEqual(Array.from({ length: 50 }, (_, index) => `"run":"r${index}"`));
  });
});

describe('damage', () => {
  test('a history cut at any byte gives what was whole, and goes on', async () => {
    const results = [runResult('r1', 1000), runResult('r2', 2000, { datasets: [datasetResult('größe')] })];
    const whole = Buffer.from(results.map((ended) => writeHistoryLine({ ended })).join(''));
    const first = whole.indexOf('\n') + 1;
    for (let length = 0; length <= whole.length; length++) {
      writeFileSync(file, whole.subarray(0, length));
      await written(async (history) => {
        // Only the newline may be missing of what is whole.
        const last = length >= whole.length - 1 ? 'r2' : length >= first - 1 ? 'r1' : undefined;
        expect(history.found.jobs.get('web1')?.lastRun?.run, `cut at ${length}`).toBe(last);
        await history.ended(runResult('r3', 3000));
      });
      const { fold, notices } = await readHistory(stateDir);
      expect(fold.jobs.get('web1')?.lastRun?.run, `cut at ${length}`).toBe('r3');
      expect(notices, `cut at ${length}`).toEqual([]);
    }
  });

  test('lines changed at random never make it fail, and are kept aside and named', async () => {
    const seed = Number(process.env['SNAPFERRY_SEED'] ?? Date.now() % 1_000_000);
    console.log(`history: SNAPFERRY_SEED=${seed}`);
    const random = seededRandom(seed);
    const lines = Array.from({ length: 20 }, (_, index) => writeHistoryLine({ ended: runResult(`r${index}`, index) }));
    for (let round = 0; round < 100; round++) {
      const bytes = Buffer.from(lines.join(''));
      for (let change = 0; change < 3; change++)
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      writeFileSync(file, bytes);
      await written(async (history) => {
        await history.ended(runResult('next', 100));
      });
      const { fold, notices } = await readHistory(stateDir);
      expect(fold.jobs.get('web1')?.lastRun?.run, `round ${round}, seed ${seed}`).toBe('next');
      expect(notices).toEqual([]);
    }
  });

  test('what cannot be read is said with its line, and lies beside the history', async () => {
    writeFileSync(file, `${writeHistoryLine({ ended: runResult('r1', 0) })}{"ended":{"run":7}}\nnonsense\n`);
    await written((history) => {
      expect(history.notices).toHaveLength(2);
      expect(history.notices[0]).toContain(`line 2 of ${file} cannot be read`);
      expect(history.notices[0]).toContain('history-unreadable.ndjson');
      expect(history.found.jobs.get('web1')?.lastRun?.run).toBe('r1');
      return Promise.resolve();
    });
    expect(readFileSync(join(stateDir, 'history-unreadable.ndjson'), 'utf8')).toBe('{"ended":{"run":7}}\nnonsense\n');
    await written((history) => {
      expect(history.notices).toEqual([]);
      return Promise.resolve();
    });
  });

  test('a line torn by somebody who writes at this moment is no more than left out', async () => {
    writeFileSync(file, writeHistoryLine({ ended: runResult('r1', 0) }));
    appendFileSync(file, '{"ended":{"run":"r2"');
    const { fold, notices } = await readHistory(stateDir);
    expect(fold.jobs.get('web1')?.lastRun?.run).toBe('r1');
    expect(notices).toEqual([expect.stringContaining('did not finish it')]);
  });
});

describe('compaction', () => {
  test('keeps the newest runs of each job, and those that say what last was well', async () => {
    const newest = runVersion('a', '2026-01-01T00:00:00Z');
    const failed = { outcome: 'failed', error: { code: 'CONNECT_FAILED', message: 'no' } } as const;
    const lines = [runResult('good', 0, { datasets: [datasetResult('tank/a', { newest })] })];
    for (let index = 1; index <= 100; index++) lines.push(runResult(`bad${index}`, index * 60_000, failed));
    for (let index = 0; index < 5; index++) lines.push(runResult(`other${index}`, index, { job: 'other' }));
    writeFileSync(file, lines.map((ended) => writeHistoryLine({ ended })).join(''));
    const before = (await readHistory(stateDir)).fold;
    await (await History.open(stateDir, { runsPerJobMax: 3 })).close();
    const after = (await readHistory(stateDir)).fold;
    const runs = [...readFileSync(file, 'utf8').matchAll(/"run":"(\w+)"/g)].map(([, run]) => run);
    expect(runs).toEqual(['good', 'bad1', 'bad98', 'bad99', 'bad100', 'other2', 'other3', 'other4']);
    expect(after.jobs.get('web1')).toEqual(before.jobs.get('web1'));
  });

  test('a small bound of bytes keeps fewer runs, a job that is long gone none', async () => {
    const lines = [runResult('gone', 0, { job: 'gone' })];
    for (let index = 0; index < 64; index++) lines.push(runResult(`r${index}`, 400 * day + index));
    writeFileSync(file, lines.map((ended) => writeHistoryLine({ ended })).join(''));
    await (await History.open(stateDir, { bytesMax: 2000 })).close();
    expect(statSync(file).size).toBeLessThanOrEqual(2000);
    const { fold } = await readHistory(stateDir);
    expect([...fold.jobs.keys()]).toEqual(['web1']);
    expect(fold.jobs.get('web1')?.lastRun?.run).toBe('r63');
  });

  test('goes on while it is written, and loses nothing that is new', async () => {
    await using history = await History.open(stateDir, { runsPerJobMax: 10 });
    for (let index = 0; index < 2100; index++) await history.ended(runResult(`r${index}`, index));
    const runs = [...readFileSync(file, 'utf8').matchAll(/"run":"(\w+)"/g)].map(([, run]) => run);
    expect(runs.length).toBeLessThan(150);
    expect(runs.slice(-105)).toEqual(Array.from({ length: 105 }, (_, index) => `r${1995 + index}`));
  });

  test('a run that has begun is remembered until it is over', async () => {
    await written((history) => history.began(begun('r1', 1)));
    await written(async (history) => {
      expect([...history.found.begun.keys()]).toEqual(['r1']);
      await history.ended(runResult('r1', 1));
    });
    await written((history) => {
      expect(history.found.begun.size).toBe(0);
      return Promise.resolve();
    });
  });
});

describe('a disk that cannot be written', () => {
  test('is an error that names the file, and what could not be written comes with the next', async () => {
    const history = await History.open(stateDir);
    await history.ended(runResult('r1', 1));
    await history.close();
    await expect(history.ended(runResult('r2', 2))).rejects.toMatchObject({
      code: 'INTERNAL',
      message: expect.stringContaining(file) as string,
    });
  });

  test('a state directory that is a file is said so', async () => {
    truncateSync(createFile(join(stateDir, 'file')), 0);
    await expect(History.open(join(stateDir, 'file'))).rejects.toMatchObject({ code: 'INTERNAL' });
  });
});

function createFile(path: string): string {
  writeFileSync(path, '');
  return path;
}
