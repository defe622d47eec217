import { describe, expect, test } from 'vitest';
import type { JSONValue } from '../../src/chunker/json-message.ts';
import { Fields, listOf, textsOf, u64Max, undecodable } from '../../src/rpc/fields.ts';

const fieldsOf = (value: JSONValue): Fields => new Fields(value, 'Message');

function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
    return (error as Error).message;
  }
  return 'accepted';
}

const readers = {
  text: (fields: Fields) => fields.text('Field'),
  flag: (fields: Fields) => fields.flag('Field'),
  integer: (fields: Fields) => fields.integer('Field', 255),
  integerOrNull: (fields: Fields) => fields.integerOrNull('Field'),
  u64: (fields: Fields) => fields.u64('Field'),
  list: (fields: Fields) => fields.list('Field'),
  texts: (fields: Fields) => fields.texts('Field'),
  id: (fields: Fields) => fields.id('Field'),
} as const;

describe('a field that is missing, or null, has its zero value', () => {
  test.each([
    ['text', ''],
    ['flag', false],
    ['integer', 0],
    ['integerOrNull', null],
    ['u64', 0n],
    ['list', []],
    ['texts', []],
    ['id', new Uint8Array(16)],
  ] as const)('%s', (reader, zero) => {
    for (const value of [null, {}, { Field: null }]) expect(readers[reader](fieldsOf(value))).toEqual(zero);
    for (const value of [null, {}, { Field: null }]) expect(fieldsOf(value).has('Field')).toBe(false);
  });
});

describe('a field of the right type is what it is', () => {
  test.each([
    ['text', 'é', 'é'],
    ['flag', true, true],
    ['flag', false, false],
    ['integer', 0, 0],
    ['integer', 255, 255],
    ['integerOrNull', 0, 0],
    ['integerOrNull', Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ['u64', 0, 0n],
    ['u64', 5, 5n],
    ['u64', u64Max, u64Max],
    ['list', [1, 'a', null], [1, 'a', null]],
    ['texts', ['a', null, 'b'], ['a', '', 'b']],
  ] as const)('%s of %s', (reader, value, expected) => {
    const fields = fieldsOf({ Field: value as JSONValue });
    expect(readers[reader](fields)).toEqual(expected);
    expect(fields.has('Field')).toBe(true);
  });
});

describe('a field of another type is refused with its name', () => {
  test.each([
    ['text', 1, 'Message.Field: expected a string, got 1'],
    ['text', [], 'Message.Field: expected a string, got a list'],
    ['flag', 'true', 'Message.Field: expected true or false, got true'],
    ['flag', {}, 'Message.Field: expected true or false, got an object'],
    ['integer', 256, 'Message.Field: expected an integer from 0 to 255, got 256'],
    ['integer', -1, 'Message.Field: expected an integer from 0 to 255, got -1'],
    ['integer', 1.5, 'Message.Field: expected an integer from 0 to 255, got 1.5'],
    ['integer', '1', 'Message.Field: expected an integer from 0 to 255, got 1'],
    ['integer', 5n, 'Message.Field: expected an integer from 0 to 255, got 5'],
    ['integerOrNull', -1, `Message.Field: expected an integer from 0 to ${Number.MAX_SAFE_INTEGER}, got -1`],
    ['u64', -1, 'Message.Field: expected an unsigned 64-bit integer, got -1'],
    ['u64', -1n, 'Message.Field: expected an unsigned 64-bit integer, got -1'],
    ['u64', u64Max + 1n, `Message.Field: expected an unsigned 64-bit integer, got ${u64Max + 1n}`],
    ['u64', 1.5, 'Message.Field: expected an unsigned 64-bit integer, got 1.5'],
    ['u64', 2 ** 53, `Message.Field: expected an unsigned 64-bit integer, got ${2 ** 53}`],
    ['u64', '1', 'Message.Field: expected an unsigned 64-bit integer, got 1'],
    ['list', {}, 'Message.Field: expected a list, got an object'],
    ['list', 'x', 'Message.Field: expected a list, got x'],
    ['texts', ['a', 1], 'Message.Field: expected a list of strings, got 1'],
    ['texts', 'a', 'Message.Field: expected a list, got a'],
    ['text', true, 'Message.Field: expected a string, got true'],
  ] as const)('%s of %s', (reader, value, message) => {
    expect(refusal(() => readers[reader](fieldsOf({ Field: value as JSONValue })))).toBe(message);
  });

  test('shown no longer than it takes to know it', () => {
    const fields = fieldsOf({ Field: 'x'.repeat(1000) });
    expect(refusal(() => fields.flag('Field'))).toBe(`Message.Field: expected true or false, got ${'x'.repeat(40)}`);
  });

  test.each([
    ['a string', 'x', 'x'],
    ['a number', 1, '1'],
    ['a list', [], 'a list'],
    ['true', true, 'true'],
  ])('a message that is %s', (_, value, shown) => {
    expect(refusal(() => fieldsOf(value as JSONValue))).toBe(`Message: expected an object, got ${shown}`);
  });
});

describe('an id', () => {
  const idOf = (bytes: JSONValue): number[] => [...fieldsOf({ Id: bytes }).id('Id')];
  const full = Array.from({ length: 16 }, (_, at) => at * 17);

  test.each([
    ['of 16 bytes is taken', full, full],
    ['that is short is padded', [1, 255], [1, 255, ...(Array(14).fill(0) as number[])]],
    ['that is long is cut', [...full, 9, 9], full],
  ])('%s', (_, given, expected) => {
    expect(idOf(given)).toEqual(expected);
  });

  test.each([-1, 256, 1.5, '1', null])('with %j in it is refused, wherever it stands', (bad) => {
    for (const list of [[bad], [...full, bad]]) {
      const fields = fieldsOf({ Id: list });
      expect(refusal(() => fields.id('Id'))).toBe(
        `Message.Id: expected a list of bytes, got ${bad === null ? 'an object' : bad}`,
      );
    }
  });
});

describe('names', () => {
  test.each([
    ['in another case', { fIELD: 'x' }],
    ['with the long s or the Kelvin sign for s and k', { field: 'x' }],
    ['repeated, the last wins', { Field: 'a', FIELD: 'b', field: 'x' }],
    ['of other fields are passed over', { Other: [], Field: 'x', '': 1 }],
  ])('%s', (_, value) => {
    expect(fieldsOf(value).text('Field')).toBe('x');
  });

  test('fold as they do in Go', () => {
    expect(fieldsOf({ 'Di\u017fk\u017f': 'x' }).text('Disks')).toBe('x');
    expect(fieldsOf({ '\u212aey': 'x' }).text('Key')).toBe('x');
  });

  test('that mean something elsewhere give a message no fields', () => {
    for (const name of ['__proto__', 'constructor', 'prototype']) {
      const fields = fieldsOf(JSON.parse(`{"${name}":{"Field":"x"}}`) as JSONValue);
      expect(fields.has('Field')).toBe(false);
      expect(fields.raw(name)).toEqual({ Field: 'x' });
    }
    expect(fieldsOf({}).has('Field')).toBe(false);
  });
});

test('lists on their own are refused under the name they are given', () => {
  expect([listOf(null, 'things'), textsOf(null, 'things')]).toEqual([[], []]);
  expect(refusal(() => listOf('x', 'things'))).toBe('things: expected a list, got x');
  expect(refusal(() => textsOf([['x']], 'things'))).toBe('things: expected a list of strings, got a list');
});

test('a body that is not what its type says is an invalid request with the same words', () => {
  const cause = new Error('Message.Field: expected a string, got 1');
  const error = undecodable(cause);
  expect(error).toMatchObject({ code: 'INVALID_REQUEST', message: cause.message, cause, connectionDead: false });
});
