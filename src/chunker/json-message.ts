import { SnapferryError } from '../errors.ts';

/**
 * A JSON value in which integers beyond 2^53 are `bigint`, so that u64 fields survive. Integers of more than
 * `exactDigitsMax` digits fit no field of the protocol and are only approximate.
 */
export type JSONValue = null | boolean | number | bigint | string | JSONValue[] | { [name: string]: JSONValue };

/** What can be written: as {@link JSONValue}, with `undefined` fields left out. */
export type JSONInput =
  null | boolean | number | bigint | string | readonly JSONInput[] | { readonly [name: string]: JSONInput | undefined };

/** A sign and the 20 digits of 2^64, with room to spare: converting millions of digits would take seconds. */
export const exactDigitsMax = 40;

const plainText = /^[ !#-%'-;=?-[\]-\u2027\u202a-\ud7ff\ue000-\uffff]*$/;
const shortEscapes = new Map([
  ['"', '\\"'],
  ['\\', '\\\\'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
]);

function writeString(text: string): string {
  if (plainText.test(text)) return `"${text}"`;
  const escaped = text.replace(/["\\<>&\u2028\u2029\p{Cc}\p{Surrogate}]/gu, (character) => {
    const code = character.charCodeAt(0);
    if (code >= 0x7f && code <= 0x9f) return character;
    // A lone surrogate is not encodable: Go writes what it cannot decode as this escape.
    if (code >= 0xd800 && code <= 0xdfff) return '\\ufffd';
    return shortEscapes.get(character) ?? `\\u${code.toString(16).padStart(4, '0')}`;
  });
  return `"${escaped}"`;
}

/** The names of the protocol as they are written, which are few; others are not remembered. */
const writtenNames = new Map<string, string>();
const writtenNamesMax = 256;

function writeName(name: string): string {
  const known = writtenNames.get(name);
  if (known !== undefined) return known;
  const written = writeString(name);
  if (writtenNames.size < writtenNamesMax && name.length < copiedCharactersMax) writtenNames.set(name, written);
  return written;
}

/**
 * Writes JSON in the form of Go's encoding/json (docs/PROTOCOL.md, "JSON"): compact, fields in the order given, `<`, `>`,
 * `&`, U+2028 and U+2029 escaped, bigints as plain digits. Without the newline that ends a message.
 * @throws TypeError for a number that is not an exact integer or not finite: nothing on this wire is a fraction
 */
export function stringifyJSON(value: JSONInput): string {
  if (value === null) return 'null';
  switch (typeof value) {
    case 'string':
      return writeString(value);
    case 'boolean':
    case 'bigint':
      return String(value);
    case 'number':
      if (!Number.isSafeInteger(value)) throw new TypeError(`not an exact integer: ${value}`);
      return String(value);
    default:
  }
  let text = '';
  if (isList(value)) {
    for (const item of value) text += text === '' ? stringifyJSON(item) : `,${stringifyJSON(item)}`;
    return `[${text}]`;
  }
  for (const name of Object.keys(value)) {
    const field = value[name];
    if (field === undefined) continue;
    text += `${text === '' ? '' : ','}${writeName(name)}:${stringifyJSON(field)}`;
  }
  return `{${text}}`;
}

function isList(value: JSONInput): value is readonly JSONInput[] {
  return Array.isArray(value);
}

/** What a JSON text may hold beside its size. */
interface JSONBounds {
  /** Nesting of arrays and objects. */
  readonly depthMax: number;
  /** Values in all, arrays and objects included: each `{}` of three bytes costs a hundred in memory. */
  readonly valuesMax: number;
}

/**
 * Refuses nesting beyond `depthMax` before any parser recurses into it, and more than `valuesMax` values before any
 * parser builds them. What is inside strings does not count, nor does what follows the value.
 */
function checkBounds(text: string, { depthMax, valuesMax }: JSONBounds): void {
  let depth = 0;
  let values = 1;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 0x22) {
      index = endOfString(text, index + 1);
    } else if (code === 0x2c) {
      if (++values > valuesMax) throw tooManyValues(valuesMax);
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > depthMax) throw new SnapferryError('LIMIT_EXCEEDED', `JSON nested deeper than ${depthMax}`);
      if (++values > valuesMax) throw tooManyValues(valuesMax);
    } else if (code === 0x5d || code === 0x7d) {
      if (--depth <= 0) return;
    }
  }
}

function tooManyValues(valuesMax: number): SnapferryError {
  return new SnapferryError(
    'LIMIT_EXCEEDED',
    `JSON of more than the ${valuesMax} values allowed in a message of its kind`,
  );
}

/** Index of the quote that closes the string whose text starts at `index`; the text's length if there is none. */
function endOfString(text: string, index: number): number {
  for (let quote = text.indexOf('"', index); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    // The quote the string begins with ends the search.
    while (text.charCodeAt(quote - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return quote;
  }
  return text.length;
}

/**
 * Reads the first JSON value of a text exactly: integers beyond 2^53 become `bigint`. What follows the value is ignored,
 * as the Go implementation does. Native speed where no long number occurs. Own code because Node 20's JSON.parse cannot
 * hand out a number's digits, and the libraries that can are several times slower or corrupt other values.
 * @throws SnapferryError `PROTOCOL_VIOLATION` with the offset, or `LIMIT_EXCEEDED` beyond the bounds
 */
export function parseJSON(text: string, depthMax: number, valuesMax = Infinity): JSONValue {
  checkBounds(text, { depthMax, valuesMax });
  if (!/\d{16}/.test(text)) {
    try {
      return JSON.parse(text) as JSONValue;
    } catch {
      // Perhaps something follows the value; the exact parser decides, and knows the offset of a real error.
    }
  }
  return new ExactParser(text).first();
}

/** Slices up to this are copies, with a margin. */
const copiedCharactersMax = 12;
/** Fewer than any integer that a number cannot hold has. */
const shortDigitsMax = 15;
const number = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;

class ExactParser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  first(): JSONValue {
    this.#skipSpace();
    return this.#value();
  }

  #value(): JSONValue {
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object();
      case '[':
        return this.#array();
      case '"':
        return this.#string();
      case 't':
        return this.#word('true', true);
      case 'f':
        return this.#word('false', false);
      case 'n':
        return this.#word('null', null);
      default:
        return this.#number();
    }
  }

  #object(): JSONValue {
    const object: { [name: string]: JSONValue } = {};
    for (let isMore = this.#opens('}'); isMore; isMore = this.#continues('}')) {
      if (this.#text[this.#at] !== '"') this.#fail('expected a field name');
      const name = this.#string();
      this.#skipSpace();
      if (this.#text[this.#at++] !== ':') this.#fail('expected ":"', this.#at - 1);
      this.#skipSpace();
      const value = this.#value();
      if (name === '__proto__') setOwn(object, name, value);
      else object[name] = value;
    }
    return object;
  }

  #array(): JSONValue {
    const array: JSONValue[] = [];
    for (let isMore = this.#opens(']'); isMore; isMore = this.#continues(']')) array.push(this.#value());
    return array;
  }

  /** Whether there is a first item. */
  #opens(close: string): boolean {
    this.#at++;
    this.#skipSpace();
    if (this.#text[this.#at] !== close) return true;
    this.#at++;
    return false;
  }

  /** Whether another item follows the last. */
  #continues(close: string): boolean {
    this.#skipSpace();
    const separator = this.#text[this.#at++];
    if (separator === close) return false;
    if (separator !== ',') this.#fail(`expected "," or "${close}"`, this.#at - 1);
    this.#skipSpace();
    return true;
  }

  #string(): string {
    const short = this.#shortString();
    if (short !== null) return short;
    const end = endOfString(this.#text, this.#at + 1);
    try {
      const value = JSON.parse(this.#text.slice(this.#at, end + 1)) as string;
      this.#at = end + 1;
      return value;
    } catch {
      return this.#fail('malformed string');
    }
  }

  /**
   * A short string that stands for itself, as most names do; null, and nothing read, if it is something else. A longer
   * slice would keep the whole text alive for as long as the string lives.
   */
  #shortString(): string | null {
    const start = this.#at + 1;
    for (let at = start; at <= start + copiedCharactersMax; at++) {
      const code = this.#text.charCodeAt(at);
      if (code === 0x22) {
        this.#at = at + 1;
        return this.#text.slice(start, at);
      }
      // An escape, a control character, or the end of the text, which is no number at all.
      if (code === 0x5c || !(code >= 0x20)) return null;
    }
    return null;
  }

  #word<T extends JSONValue>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) this.#fail('unexpected text');
    this.#at += word.length;
    return value;
  }

  #number(): number | bigint {
    const short = this.#shortInteger();
    if (short !== null) return short;
    number.lastIndex = this.#at;
    const match = number.exec(this.#text);
    if (match === null) return this.#fail(this.#at >= this.#text.length ? 'unexpected end' : 'unexpected character');
    this.#at = number.lastIndex;
    const [digits, fraction, exponent] = match;
    const value = Number(digits);
    if (fraction !== undefined || exponent !== undefined || Number.isSafeInteger(value)) return value;
    return digits.length > exactDigitsMax ? value : BigInt(digits);
  }

  /** An unsigned integer of few digits, which most numbers are; null, and nothing read, if it is something else. */
  #shortInteger(): number | null {
    const text = this.#text;
    let at = this.#at;
    let value = 0;
    let code = text.charCodeAt(at);
    while (code >= 0x30 && code <= 0x39) {
      value = value * 10 + (code - 0x30);
      code = text.charCodeAt(++at);
    }
    const digits = at - this.#at;
    const isMore = code === 0x2e || code === 0x45 || code === 0x65;
    const isZeroLed = digits > 1 && text.charCodeAt(this.#at) === 0x30;
    if (digits === 0 || digits > shortDigitsMax || isMore || isZeroLed) return null;
    this.#at = at;
    return value;
  }

  #skipSpace(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
  }

  #fail(what: string, at = this.#at): never {
    throw new SnapferryError('PROTOCOL_VIOLATION', `malformed JSON at offset ${at}: ${what}`);
  }
}

/** Sets a field whose name means something else to an assignment, as JSON.parse does. */
function setOwn(object: object, name: string, value: JSONValue): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

/** The text of a message's bytes; invalid UTF-8 becomes U+FFFD, a byte order mark stays and is then malformed. */
export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
