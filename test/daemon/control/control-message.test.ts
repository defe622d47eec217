import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  buildCall,
  buildError,
  buildGreeting,
  buildInternalError,
  buildProgress,
  buildResponse,
  parseCall,
  parseGreeting,
  parseResponse,
} from '../../../src/daemon/control/control-message.ts';
import { SnapferryError } from '../../../src/errors.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (line: Uint8Array): string => Buffer.from(line).toString();
/** As a reader hands it on. */
const bare = (line: Uint8Array): Uint8Array => line.subarray(0, -1);

describe('what is built', () => {
  test('is one line each, as the protocol has it', () => {
    expect(text(buildGreeting('0.1.0'))).toBe('{"version":"0.1.0"}\n');
    expect(text(buildCall('wakeup', { job: 'a' }))).toBe('{"cmd":"wakeup","opts":{"job":"a"}}\n');
    expect(text(buildCall('status'))).toBe('{"cmd":"status","opts":{}}\n');
    expect(text(buildProgress({ done: 0.5 }))).toBe('{"status":true,"progress":{"done":0.5}}\n');
    expect(text(buildResponse(undefined))).toBe('{"status":true,"response":null}\n');
    expect(text(buildError('no', 'BUSY'))).toBe('{"status":false,"message":"no","code":"BUSY"}\n');
    expect(text(buildError('no'))).toBe('{"status":false,"message":"no"}\n');
    expect(text(buildError('two\nlines'))).toBe('{"status":false,"message":"two\\nlines"}\n');
    expect(parseResponse(bare(buildInternalError()))).toMatchObject({ kind: 'error', code: 'INTERNAL' });
  });

  test('is read back as what it was', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.dictionary(fc.string(), fc.jsonValue()), (value, opts) => {
        const same = (one: unknown) => JSON.parse(JSON.stringify(one)) as unknown;
        expect(parseResponse(bare(buildResponse(value)))).toEqual({ kind: 'response', response: same(value) });
        expect(parseResponse(bare(buildProgress(value)))).toEqual({ kind: 'progress', progress: same(value) });
        // The name that is no field to JavaScript is none of ours either.
        const kept = Object.fromEntries(Object.entries(same(opts) as object).filter(([name]) => name !== '__proto__'));
        expect(parseCall(bare(buildCall('a-1', opts)))).toEqual({ cmd: 'a-1', opts: kept });
      }),
    );
  });

  test.each(['', 'Status', '1st', 'a b', '../x', 'a'.repeat(65)])('no command is called %j', (name) => {
    expect(() => buildCall(name)).toThrow(SnapferryError);
    expect(() => parseCall(bytes(JSON.stringify({ cmd: name })))).toThrow('must be the name of a command');
  });

  test('options are an object', () => {
    expect(() => buildCall('a', ['x'])).toThrow('no command to send');
    for (const opts of ['[]', '"x"', 'null', '1']) {
      expect(() => parseCall(bytes(`{"cmd":"a","opts":${opts}}`))).toThrow('opts');
    }
    expect(parseCall(bytes('{"cmd":"a"}'))).toEqual({ cmd: 'a', opts: {} });
  });
});

describe('what is refused', () => {
  test.each([
    ['', 'is not JSON'],
    ['{"cmd":"a"', 'is not JSON'],
    ['{"cmd":"a"} {}', 'is not JSON'],
    ['\ufeff{"cmd":"a"}', 'is not JSON'],
    ['null', 'not a command'],
    ['[]', 'not a command'],
    ['"status"', 'not a command'],
    ['{}', 'cmd'],
    ['{"cmd":1}', 'cmd'],
    ['{"cmd":"a","options":{}}', 'options'],
  ])('as a command: %j', (line, why) => {
    expect(() => parseCall(bytes(line))).toThrow(why);
  });

  test('bytes that are no text', () => {
    expect(() => parseCall(Uint8Array.from([0x22, 0xff, 0x22]))).toThrow('is not UTF-8');
  });

  test('without quoting what it was', () => {
    const message = (() => {
      try {
        parseCall(bytes('hunter2'));
        return 'taken';
      } catch (error) {
        return (error as Error).message;
      }
    })();
    expect(message).toBe('a line of 7 bytes is not JSON');
  });

  test.each([
    ['{}'],
    ['{"status":true}'],
    ['{"status":false}'],
    ['{"status":"true","response":1}'],
    ['{"status":true,"response":1,"progress":2}'],
    ['{"response":1}'],
    ['{"status":false,"message":3}'],
    ['{"status":false,"message":"x","code":7}'],
    ['[true,1]'],
    ['null'],
  ])('as a reply: %s', (line) => {
    expect(() => parseResponse(bytes(line))).toThrow('a reply must have');
  });

  test.each(['{}', '{"version":1}', 'hello', '"1.0"', `{"version":"${'1'.repeat(300)}"}`])(
    'as a greeting: %s',
    (line) => {
      expect(() => parseGreeting(bytes(line))).toThrow(SnapferryError);
    },
  );

  test('but not what a newer daemon adds', () => {
    expect(parseGreeting(bytes('{"version":"9","motd":"hi"}'))).toBe('9');
    expect(parseResponse(bytes('{"status":true,"response":1,"took":3}'))).toEqual({ kind: 'response', response: 1 });
    expect(parseResponse(bytes('{"status":false,"message":"x","hint":"y"}'))).toEqual({
      ...{ kind: 'error', code: null, message: 'x' },
    });
  });

  test('anything else random, with an error of ours', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (line) => {
        for (const parse of [parseCall, parseResponse, parseGreeting]) {
          try {
            parse(line);
          } catch (error) {
            expect(error).toBeInstanceOf(SnapferryError);
          }
        }
      }),
    );
  });
});
