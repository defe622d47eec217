import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import type { LoggingSettings } from '../../src/config/global-settings.ts';
import { DaemonLog } from '../../src/daemon/daemon-log.ts';
import { SnapferryError } from '../../src/errors.ts';

const plain: LoggingSettings = { level: 'info', format: 'human', time: null, color: null };

function logged(settings: Partial<LoggingSettings> = {}, where: { isJournal?: boolean; isTerminal?: boolean } = {}) {
  const lines: string[] = [];
  const log = new DaemonLog({
    settings: { ...plain, ...settings },
    isJournal: false,
    isTerminal: false,
    ...where,
    out: { write: (line: string) => void lines.push(line) },
  });
  return { log, lines, logger: log.logger };
}

describe('form', () => {
  test('for people: a line with time, level, text and what it is about', () => {
    const { logger, lines } = logged();
    logger.warn({ job: 'web1', event: 'retrying' }, 'trying again');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] WARN: trying again \{"job":"web1"\}\n$/);
  });

  test('as JSON, one object a line', () => {
    const { logger, lines } = logged({ format: 'json' });
    logger.info({ job: 'web1' }, 'text\nof two lines');
    expect(JSON.parse(lines[0]!)).toEqual({
      level: 30,
      time: expect.any(Number) as number,
      job: 'web1',
      msg: 'text\nof two lines',
    });
    expect(lines[0]!.trimEnd()).not.toContain('\n');
  });

  test('systemd has the time itself, and wants the priority', () => {
    const { logger, lines } = logged({}, { isJournal: true });
    logger.error('bad');
    logger.info('good');
    expect(lines).toEqual(['<3>ERROR: bad\n', '<6>INFO: good\n']);
    const withTime = logged({ time: true, format: 'json' }, { isJournal: true });
    withTime.logger.warn('x');
    expect(withTime.lines[0]).toMatch(/^<4>\{"level":40,"time":\d+,"msg":"x"\}\n$/);
    const without = logged({ time: false, format: 'json' });
    without.logger.warn('x');
    expect(without.lines[0]).toBe('{"level":40,"msg":"x"}\n');
  });

  test('colours are for terminals, unless the configuration says otherwise', () => {
    const escape = String.fromCharCode(27);
    const lineOf = (settings: Partial<LoggingSettings>, isTerminal: boolean) => {
      const { logger, lines } = logged(settings, { isTerminal });
      logger.error('x');
      return lines[0]!;
    };
    expect(lineOf({}, true)).toContain(escape);
    expect(lineOf({}, false)).not.toContain(escape);
    expect(lineOf({ color: false }, true)).not.toContain(escape);
    expect(lineOf({ color: true }, false)).toContain(escape);
  });
});

describe('secrets', () => {
  test('are never written, at any depth or in a child', () => {
    const { logger, lines, log } = logged({ format: 'json' });
    const secrets = { password: 's3cret', bearerToken: 's3cret', url: 'https://s3cret', authorization: 's3cret' };
    logger.info({ ...secrets, settings: { ...secrets, server: { ...secrets, more: secrets } } }, 'configured');
    logger.child({ session: 1, token: 's3cret' }).info({ resumeToken: 's3cret' }, 'asked');
    logger.error({ err: Object.assign(new SnapferryError('INTERNAL', 'no'), { password: 's3cret' }) }, 'failed');
    expect(lines.join('')).not.toContain('s3cret');
    expect(log.tail.lines().join('')).not.toContain('s3cret');
    expect(lines[0]).toContain('(secret)');
  });
});

describe('a change of settings', () => {
  test('holds for loggers that are in use already, and their children', () => {
    const { log, logger, lines } = logged();
    const child = logger.child({ session: 1 });
    const grandchild = child.child({ request: 2 });
    grandchild.debug('before');
    log.configure({ ...plain, level: 'debug', format: 'json' });
    grandchild.debug('after');
    log.configure({ ...plain, level: 'error' });
    child.warn('quiet again');
    expect(lines).toEqual([expect.stringContaining('"msg":"after"')]);
  });
});

describe('the tail', () => {
  test('keeps the last lines within bounds, and tells followers', () => {
    const { log, logger } = logged({ format: 'human' });
    const followed: string[] = [];
    const stop = log.tail.follow((line) => void followed.push(line));
    for (let index = 0; index < 3000; index++) logger.info({ index }, 'line');
    stop();
    logger.info('after');
    expect(log.tail.lines()).toHaveLength(2000);
    expect(followed).toHaveLength(3000);
    expect(JSON.parse(followed[2999]!)).toMatchObject({ index: 2999, msg: 'line' });
    logger.info({ big: 'x'.repeat(1024 * 1024) }, 'large');
    expect(log.tail.lines().length).toBeLessThanOrEqual(1);
  });
});

test('pino of this version tells of children, which the levels depend on', () => {
  const children: unknown[] = [];
  pino({ onChild: (child) => void children.push(child) }, { write: () => undefined })
    .child({})
    .child({});
  expect(children).toHaveLength(2);
});
