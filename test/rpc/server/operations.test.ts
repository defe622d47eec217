import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { errorCodes, SnapferryError } from '../../../src/errors.ts';
import { defaultLimits } from '../../../src/limits.ts';
import { requestType } from '../../../src/rpc/protocol.ts';

const text = (name: string): string => readFileSync(new URL(`../../../docs/${name}`, import.meta.url), 'utf8');
const operations = text('OPERATIONS.md');
const protocol = text('PROTOCOL.md');

/** The cells of the row whose first cell is this code. */
function rowOf(code: string): string[] {
  const row = operations.split('\n').find((line) => line.startsWith(`| \`${code}\``));
  return (row ?? '').split('|').map((cell) => cell.trim());
}

describe('docs/OPERATIONS.md', () => {
  test.each(errorCodes)('says of %s what the program knows of it', (code) => {
    const [, , dead, again] = rowOf(code);
    const error = new SnapferryError(code, '');
    expect(dead?.startsWith('yes')).toBe(error.connectionDead);
    expect(again).toBe(error.retryable ? 'yes' : 'no');
  });

  test.each(Object.keys(defaultLimits))('names the limit %s', (name) => {
    expect(operations).toContain(name);
  });
});

describe('docs/PROTOCOL.md', () => {
  test.each(Object.entries(requestType))('has %s in its table', (name, type) => {
    const number = `0x${type.toString(16).padStart(2, '0')}`;
    const row = protocol.split('\n').find((line) => line.startsWith(`| ${number}`));
    expect(row?.toLowerCase()).toContain(name.toLowerCase());
  });

  test.each(errorCodes)('has the code %s', (code) => {
    expect(protocol).toContain(code);
  });
});
