import { describe, expect, it } from 'vitest';
import {
  formatBytes,
  formatChanges,
  formatCount,
  formatCreation,
  formatDuration,
  printable,
  printableLines,
} from '../../src/cli/format.ts';
import { plannedCounts, plannedVersion } from '../../src/cli/planned-version.ts';
import { renderError, reportError } from '../../src/cli/program-error.ts';
import { createProgressDisplay, describeTransfer, describeWork } from '../../src/cli/progress-display.ts';
import { renderTable } from '../../src/cli/table.ts';
import { UsageError } from '../../src/cli/usage-error.ts';
import { SnapferryError } from '../../src/errors.ts';

describe('format', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [12_595, '12.3 KiB'],
    [1024 * 1024 - 1, '1.0 MiB'],
    [1023.9 * 1024, '1023.9 KiB'],
    [5 * 1024 ** 3, '5.0 GiB'],
    [2 ** 60, '1024.0 PiB'],
  ])('%d bytes are %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it.each([
    [0, '0.0 s'],
    [449, '0.4 s'],
    [9949, '9.9 s'],
    [9950, '10 s'],
    [59_499, '59 s'],
    [60_000, '1 min 0 s'],
    [185_000, '3 min 5 s'],
    [7_800_000, '2 h 10 min'],
    [273_600_000, '3 d 4 h'],
  ])('%d ms are %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  it('counts, dates and changes', () => {
    expect([formatCount(1, 'file'), formatCount(0, 'file'), formatCount(2, 'entry', 'entries')]).toEqual([
      '1 file',
      '0 files',
      '2 entries',
    ]);
    expect(formatCreation('2026-11-21T01:33:00.123Z')).toBe('2026-11-21 01:33:00Z');
    expect(formatCreation('2017-08-01T10:00:00.5+02:00')).toBe('2017-08-01 10:00:00+02:00');
    expect(formatCreation(null)).toBe('unknown');
    expect(formatChanges({ added: 3, changed: 1, removed: 2, bytes: 12_288 })).toBe(
      '3 added, 1 changed, 2 removed, 12.0 KiB',
    );
  });

  it('lets nothing through that a terminal would obey', () => {
    expect(printable('a\u001b[2Jb\u0007\u009bc\u202e\n\t')).toBe('a\\x1b[2Jb\\x07\\x9bc\\u202e\\n\\t');
    expect(printableLines('a\r\nb\u001b\nc')).toBe('a\nb\\x1b\nc');
    expect(printable('Grüße, 漢字 🙂')).toBe('Grüße, 漢字 🙂');
  });

  it('aligns a table', () => {
    expect(
      renderTable(
        [{ title: 'A' }, { title: 'SIZE', align: 'right' }],
        [
          ['long name', '1'],
          ['x', '22'],
        ],
      ),
    ).toBe('A          SIZE\nlong name     1\nx            22\n');
  });
});

describe('progress', () => {
  const unknown = { bytes: 2048, estimatedBytes: null, fraction: null, bytesPerSecond: null, remainingMs: null };

  it('says that what is unknown is unknown, never 0 %', () => {
    expect(describeTransfer(unknown)).toBe('2.0 KiB of an unknown amount');
    expect(
      describeTransfer({ bytes: 512, estimatedBytes: 2048, fraction: 0.25, bytesPerSecond: 1024, remainingMs: 1500 }),
    ).toBe('512 B of 2.0 KiB (25 %), 1.0 KiB/s, 1.5 s left');
    // More came than was expected: it never shows less in all than is here.
    expect(describeTransfer({ ...unknown, estimatedBytes: 1024, fraction: 1 })).toBe('2.0 KiB of 2.0 KiB (100 %)');
    expect(describeWork('scanning', 7, null)).toBe('scanning 7');
    expect(describeWork('copying', 7, 5)).toBe('copying 5 of 5');
    expect(describeWork('waiting', null, null)).toBe('waiting');
  });

  it('writes at most one line in ten seconds where there is no terminal', () => {
    const lines: string[] = [];
    let nowMs = 0;
    const display = createProgressDisplay({
      write: (text) => void lines.push(text),
      isTTY: false,
      silent: false,
      now: () => nowMs,
    });
    for (; nowMs <= 25_000; nowMs += 100) {
      display.transfer('receiving', unknown);
      display.work('scanning', 1, 2);
    }
    expect(lines).toEqual(['receiving: 2.0 KiB of an unknown amount\n', 'receiving: 2.0 KiB of an unknown amount\n']);
  });

  it('writes nothing when silent', () => {
    const write = () => {
      throw new Error('it wrote');
    };
    const display = createProgressDisplay({ write, isTTY: true, silent: true, now: () => 1e9 });
    display.transfer('receiving', unknown);
    display.work('scanning', 1, 2);
    display.clear();
  });
});

describe('a planned version', () => {
  const counts = { added: 3, changed: 1, removed: 2, bytes: 12_288 };

  it('carries its counts over the wire and comes after all others', () => {
    const version = plannedVersion(counts, [
      { type: 'snapshot', name: 'a', guid: 1n, createTXG: 2n ** 63n, creation: null },
    ]);
    expect(plannedCounts(version)).toEqual(counts);
    expect(version.createTXG).toBe(2n ** 63n + 1n);
    expect(version.guid).not.toBe(0n);
  });

  it('is nothing else', () => {
    const version = plannedVersion(counts, []);
    expect(plannedCounts({ ...version, type: 'snapshot' })).toBeNull();
    expect(plannedCounts({ ...version, name: 'added=1' })).toBeNull();
    expect(plannedCounts({ ...version, name: `${version.name} ` })).toBeNull();
    expect(plannedCounts({ ...version, name: 'added=1e9 changed=0 removed=0 bytes=0' })).toBeNull();
  });
});

describe('an error', () => {
  it('says what was being done, what happened, its code, and what to do', () => {
    const report = reportError(new SnapferryError('BUSY', 'locked by pid 7\nsince yesterday'));
    expect(renderError(report, 'pull a to b')).toBe(
      'snapferry: pull a to b: locked by pid 7 (BUSY)\n  since yesterday\n' +
        '  what to do: wait until the other run has ended, then run it again\n',
    );
    expect(report.retryable).toBe(true);
  });

  it('tells the system’s errors from our own faults', () => {
    expect(reportError(Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC' })).code).toBe('SOURCE_FAILED');
    expect(reportError(new TypeError('x is undefined')).code).toBe('INTERNAL');
    expect(reportError(Object.assign(new Error('x'), { code: 'ERR_INVALID_ARG_TYPE' })).code).toBe('INTERNAL');
    expect(reportError(new UsageError('no'))).toMatchObject({ code: 'USAGE', advice: null });
  });
});
