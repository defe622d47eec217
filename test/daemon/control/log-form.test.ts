import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { logCall, longForm, shortForm } from '../../../src/daemon/control/log-form.ts';

describe('the forms of a command in the log', () => {
  test('short: the name and its own words', () => {
    expect(shortForm('wakeup', () => 'job1')).toBe('wakeup job1');
    expect(shortForm('status', () => '')).toBe('status');
    expect(shortForm('x', () => 'line\nforged\u001b[2J')).toBe('x line\\u{a}forged\\u{1b}[2J');
    expect(shortForm('x', () => 'https://user:hunter2@host/')).toBe('x https://[redacted]@host/');
    const throwing = (): string => {
      throw new Error('no words');
    };
    expect(shortForm('x', throwing)).toBe('x');
  });

  test('long: everything but secrets', () => {
    const opts = {
      job: 'a',
      password: 'hunter2',
      auth: { api_key: 'hunter2', bearerToken: 'hunter2', clientSecret: ['hunter2'], Authorization: 'Basic hunter2' },
      list: [{ passphrase: 'hunter2' }, 'https://me:hunter2@example.com/x'],
      passed: 3,
    };
    const form = longForm('set', opts);
    expect(form).not.toContain('hunter2');
    expect(form).toContain('"job":"a"');
    expect(form).toContain('"passed":3');
    expect(form).toContain('https://[redacted]@example.com/x');
  });

  test('long: has an end, whatever comes', () => {
    const deep = JSON.parse(`${'['.repeat(20_000)}${']'.repeat(20_000)}`) as unknown;
    expect(longForm('x', { deep })).toBe('x {"deep":[[[[[[["…"]]]]]]]}');
    expect(longForm('x', { text: 'y'.repeat(60_000) }).length).toBeLessThan(5000);
    // As long as a line may be, and made to go back and forth in.
    for (const evil of ['a.'.repeat(32_000), '://'.repeat(20_000), 'a://b'.repeat(12_000)]) {
      expect(longForm('x', { evil })).toContain('evil');
    }
  });

  test.each([
    ['debug', 2],
    ['info', 1],
    ['silent', 0],
  ] as const)('at level %s there are %i lines', (level, count) => {
    const lines: string[] = [];
    const logger = pino({ level }, { write: (line: string) => void lines.push(line) });
    logCall(logger, { cmd: 'wakeup', opts: { job: 'a', token: 'hunter2' } }, () => 'a');
    expect(lines).toHaveLength(count);
    expect(lines.join('')).not.toContain('hunter2');
  });
});
