import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exactDigitsMax, parseJSON, stringifyJSON, textOf, type JSONInput } from '../../src/chunker/json-message.ts';
import { heldBytes } from '../support/held-memory.ts';
import { repetitions } from '../support/repetitions.ts';
import { testSeed } from '../support/scripted-peer.ts';

const property = { seed: testSeed, numRuns: repetitions(500, 100) } as const;

describe('writing', () => {
  test.each<[JSONInput, string]>([
    [null, 'null'],
    [[], '[]'],
    [{}, '{}'],
    [{ b: 1, a: [true, false], c: undefined, d: null }, '{"b":1,"a":[true,false],"d":null}'],
    ['<a href="x">&</a>', '"\\u003ca href=\\"x\\"\\u003e\\u0026\\u003c/a\\u003e"'],
    ["\\ / ' \n \r \t", '"\\\\ / \' \\n \\r \\t"'],
    ['\b\f\u0000\u001f', '"\\u0008\\u000c\\u0000\\u001f"'],
    ['\u2028\u2029', '"\\u2028\\u2029"'],
    ['\u007f\u0085\u00e9\uffff\ufffd😀', '"\u007f\u0085\u00e9\uffff\ufffd😀"'],
    ['\n\u007f\u009f', '"\\n\u007f\u009f"'],
    ['\ud800x\udc00', '"\\ufffdx\\ufffd"'],
    ['\udbff \udfff', '"\\ufffd \\ufffd"'],
    [2n ** 64n - 1n, '18446744073709551615'],
    [Number.MAX_SAFE_INTEGER, '9007199254740991'],
    [-5, '-5'],
  ])('writes case %#', (value, expected) => {
    expect(stringifyJSON(value)).toBe(expected);
  });

  test.each([1.5, Number.NaN, Infinity, 2 ** 53])('refuses %d', (value) => {
    expect(() => stringifyJSON({ a: value })).toThrow(new TypeError(`not an exact integer: ${value}`));
  });
});

describe('reading integers (scenario 7)', () => {
  test.each<[string, number | bigint]>([
    ['9007199254740991', 9007199254740991],
    ['9007199254740992', 9007199254740992n],
    ['9007199254740993', 9007199254740993n],
    ['18446744073709551615', 18446744073709551615n],
    ['18446744073709551616', 18446744073709551616n],
    ['-9007199254740993', -9007199254740993n],
    ['0', 0],
    ['1.5', 1.5],
    ['1000000000000000.5', 1000000000000000.5],
    ['1e3', 1000],
    ['1E3', 1000],
    ['12.5E-1', 1.25],
    ['123e+2', 12_300],
    ['-0.25', -0.25],
    ['123456789012345', 123456789012345],
    ['1e400', Infinity],
  ])('%s', (text, expected) => {
    expect(parseJSON(text, 9)).toBe(expected);
    expect(parseJSON(`[${text}, 1234567890123456]`, 9)).toEqual([expected, 1234567890123456]);
  });

  test('of more digits than any field has are approximate, and cost nothing', () => {
    const digits = '9'.repeat(exactDigitsMax);
    expect(parseJSON(digits, 1)).toBe(BigInt(digits));
    expect(parseJSON(`${digits}9`, 1)).toBe(Number(`${digits}9`));
    expect(parseJSON('9'.repeat(5_000_000), 1)).toBe(Infinity);
  });
});

describe('reading', () => {
  test.each([
    ['{"a":1,"a":2}', { a: 2 }],
    ['{"a":9007199254740993,"a":2}', { a: 2 }],
    [' \t\r\n{ "a" : [ 1 , 2 ] } ', { a: [1, 2] }],
    ['\t\r\n { \t\r\n"a"\t\r\n : \t\r\n9007199254740993\t\r\n } ', { a: 9007199254740993n }],
    ['{"roots":null} and {more', { roots: null }],
    ['[]]]]]', []],
    ['nullnull', null],
    ['"\\ud800"', '\ud800'],
  ])('%s', (text, expected) => {
    expect(parseJSON(text, 9)).toEqual(expected);
  });

  test.each(['__proto__', 'constructor', 'toString'])('a field named %s is a field like any other', (name) => {
    for (const text of [`{"${name}":{"x":1}}`, `{"${name}":{"x":9007199254740993}}`]) {
      const value = parseJSON(text, 9) as Record<string, unknown>;
      expect(Object.keys(value)).toEqual([name]);
      expect(({} as Record<string, unknown>)['x']).toBeUndefined();
    }
  });

  test.each([
    '',
    ' ',
    '\ufeff{}',
    '{',
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,}',
    '{a:1}',
    "{'a':1}",
    '[1,]',
    '[1 2]',
    '[01]',
    '[+1]',
    '[.5]',
    '[1.]',
    '[-]',
    '"a',
    '"\n"',
    '"\\x"',
    'tru',
    'NaN',
    '{"a" 9007199254740993}',
  ])('%j is malformed, and the error says where', (text) => {
    expect(() => parseJSON(text, 9)).toThrow(/^malformed JSON at offset \d+: /);
    expect(() => parseJSON(text, 9)).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }) as Error);
  });

  test.each([
    ['', 'offset 0: unexpected end'],
    ['[1,', 'offset 3: unexpected end'],
    ['[1,x]', 'offset 3: unexpected character'],
    ['[1;2]', 'offset 2: expected "," or "]"'],
    ['{"a":1;}', 'offset 6: expected "," or "}"'],
    ['{"a";1}', 'offset 4: expected ":"'],
    ['{1:2}', 'offset 1: expected a field name'],
    ['{"a":1,2}', 'offset 7: expected a field name'],
    ['["ab', 'offset 1: malformed string'],
    ['["\\x"]', 'offset 1: malformed string'],
    ['[nulL]', 'offset 1: unexpected text'],
  ])('%j is malformed at the offset and in the way it says', (text, why) => {
    expect(() => parseJSON(text, 9)).toThrow(`malformed JSON at ${why}`);
  });

  test('a string of a large text does not keep the text alive', async () => {
    const textBytes = 2 ** 20;
    const parse = (): unknown =>
      parseJSON(`["kept for long, and not short",9007199254740993,"${'x'.repeat(textBytes)}"]`, 9);
    const before = await heldBytes();
    const kept = Array.from({ length: 8 }, () => (parse() as unknown[])[0]);
    expect((await heldBytes()) - before).toBeLessThan(4 * textBytes);
    expect(kept).toEqual(Array(8).fill('kept for long, and not short'));
  });

  test.each([
    ['[1,2,3]', 4],
    ['{"a":1,"b":2}', 3],
    ['[[],[{}]]', 6],
    ['[[[[1]]]]', 5],
    ['[",,,,[[[[{{{{"]', 2],
    ['[9007199254740993,{"a":[]}]', 5],
  ])(
    '%s may be where %i values may be (an empty list counts as one with an item), and not where one less may',
    (text, values) => {
      expect(() => parseJSON(text, 9, values)).not.toThrow();
      const refused = expect(() => parseJSON(text, 9, values - 1));
      refused.toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }) as Error);
      expect(() => parseJSON(text, 9, values - 1)).toThrow(
        `JSON of more than the ${values - 1} values allowed in a message of its kind`,
      );
    },
  );

  test('a million values, refused, cost nothing', () => {
    const refusal = expect.objectContaining({ code: 'LIMIT_EXCEEDED' }) as Error;
    for (const item of ['{},', '[],', '1,'])
      expect(() => parseJSON(`[${item.repeat(1_000_000)}`, 9, 1000)).toThrow(refusal);
  });

  test('nesting ends with its bracket, of either kind, and begins anew behind it', () => {
    for (const text of ['[{},{},{}]', '[[],[],[]]', '{"a":{},"b":{},"c":[]}']) {
      expect(() => parseJSON(text, 2)).not.toThrow();
      expect(() => parseJSON(text, 1)).toThrow('JSON nested deeper than 1');
    }
    for (const text of ['[[],[[]]]', '[{},[{}]]', '[{},{"a":[]}]']) {
      expect(() => parseJSON(text, 2)).toThrow('JSON nested deeper than 2');
    }
  });

  test.each([1, 2, 32])('nesting of %i may be and one more may not', (depth) => {
    const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
    const objects = (levels: number): string => '{"a":'.repeat(levels) + '9007199254740993' + '}'.repeat(levels);
    for (const text of [nested, objects]) {
      expect(() => parseJSON(text(depth), depth)).not.toThrow();
      expect(() => parseJSON(text(depth + 1), depth)).toThrow(
        expect.objectContaining({ code: 'LIMIT_EXCEEDED' }) as Error,
      );
    }
  });

  test('brackets in strings and behind the value are no nesting, a million of them no recursion', () => {
    expect(parseJSON('["[[[[\\"[[[[", "\\\\"]', 1)).toEqual(['[[[["[[[[', '\\']);
    expect(parseJSON(`[1] ${'['.repeat(1000)}`, 1)).toEqual([1]);
    expect(() => parseJSON('['.repeat(1_000_000), 32)).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED' }) as Error,
    );
    expect(() => parseJSON(']'.repeat(1_000_000), 32)).toThrow(/malformed/);
  });

  test('invalid UTF-8 becomes U+FFFD, a byte order mark stays', () => {
    expect(textOf(Buffer.from('22ff2822', 'hex'))).toBe('"\ufffd("');
    expect(textOf(Buffer.from('efbbbf', 'hex'))).toBe('\ufeff');
  });
});

/** The value `text` has between two others, or that it has none there: what follows a whole value we ignore. */
function between(first: string, text: string, parse: (json: string) => unknown): unknown {
  try {
    const values = parse(`[${first},${text},"end"]`);
    return Array.isArray(values) && values.length === 3 && values[2] === 'end' ? plain(values[1]) : 'malformed';
  } catch {
    return 'malformed';
  }
}

const builtIn = (text: string): unknown => between('1', text, (json) => JSON.parse(json) as unknown);
/** With an integer in front that only the exact parser can read. */
const exact = (text: string): unknown => between('9007199254740993', text, (json) => parseJSON(json, 1000));

/** Objects with a prototype again, for comparison. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, plain(field)]));
}

describe(`the exact parser and the built-in one (SNAPFERRY_SEED=${testSeed})`, () => {
  test('agree on every value', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), (text) => {
        // Both lose the sign or digits of what no integer field could hold.
        fc.pre(!/\d{16}/.test(text));
        expect(exact(text)).toEqual(builtIn(text));
        expect(plain(parseJSON(text, 1000))).toEqual(builtIn(text));
      }),
      property,
    );
  });

  test('agree on what is malformed', () => {
    const token = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '"a"',
      '1',
      '-',
      '.5',
      'e3',
      'true',
      'null',
      ' ',
      '\\',
      '\n',
    );
    fc.assert(
      fc.property(fc.array(token, { maxLength: 8 }), (tokens) => {
        const text = tokens.join('');
        expect(exact(text)).toEqual(builtIn(text));
      }),
      { ...property, numRuns: repetitions(5000, 500) },
    );
  });

  test('read back what is written', () => {
    const leaf = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.boolean(), fc.string({ unit: 'grapheme' }));
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(leaf, fc.array(tie('value')), fc.dictionary(fc.string(), tie('value'))),
    }));
    fc.assert(
      fc.property(value, (written) => {
        const read = parseJSON(stringifyJSON(written as JSONInput), 1000);
        expect(integers(read)).toEqual(integers(written));
      }),
      property,
    );
  });
});

/** All integers as bigints: small ones are read as numbers. */
function integers(value: unknown): unknown {
  if (typeof value === 'number') return BigInt(value);
  if (Array.isArray(value)) return value.map(integers);
  if (typeof value !== 'object' || value === null) return value;
  return new Map(Object.entries(value).map(([name, field]) => [name, integers(field)]));
}
