import type { JSONValue } from '../chunker/json-message.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';

/** The largest unsigned 64-bit integer. */
export const u64Max = 2n ** 64n - 1n;

/** Names this program asks for, each in one spelling: as many as there are in its source, and most of what a peer sends. */
const askedFor = new Set<string>();

/** Simple case folding as Go does it: the long s and the Kelvin sign are an s and a k. */
function folded(name: string): string {
  return name.toLowerCase().toUpperCase();
}

/**
 * The fields of one JSON object, read the tolerant way the Go implementation reads: names in any case, the last of
 * repeated ones wins, unknown ones are ignored, a missing or null one has its zero value. Wrong types are refused with
 * the name of message and field.
 */
export class Fields {
  readonly #what: string;
  readonly #fields: Readonly<Record<string, JSONValue | undefined>>;
  /** By folded names; null when every field is spelt as it is asked for, and need not be looked for. */
  readonly #folded: ReadonlyMap<string, JSONValue> | null;

  /** @param what the message's name, for errors; null reads as an object without fields */
  constructor(value: JSONValue, what: string) {
    this.#what = what;
    if (value !== null && (typeof value !== 'object' || Array.isArray(value))) this.#refuse('', 'an object', value);
    this.#fields = value ?? {};
    const names = Object.keys(this.#fields);
    const isAsAskedFor = names.every((name) => askedFor.has(name));
    this.#folded = isAsAskedFor ? null : new Map(names.map((name) => [folded(name), this.#fields[name] ?? null]));
  }

  has(name: string): boolean {
    return this.raw(name) !== null;
  }

  raw(name: string): JSONValue {
    askedFor.add(name);
    return (this.#folded === null ? this.#fields[name] : this.#folded.get(folded(name))) ?? null;
  }

  text(name: string): string {
    const value = this.raw(name);
    if (value === null) return '';
    if (typeof value !== 'string') this.#refuse(name, 'a string', value);
    return value;
  }

  flag(name: string): boolean {
    const value = this.raw(name);
    if (value === null) return false;
    if (typeof value !== 'boolean') this.#refuse(name, 'true or false', value);
    return value;
  }

  /** An integer from 0 to `max`, which must be a safe integer. */
  integer(name: string, max: number): number {
    const value = this.raw(name);
    if (value === null) return 0;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max) {
      this.#refuse(name, `an integer from 0 to ${max}`, value);
    }
    return value;
  }

  /** As {@link integer}, but null stays null: unknown is not zero. */
  integerOrNull(name: string): number | null {
    return this.has(name) ? this.integer(name, Number.MAX_SAFE_INTEGER) : null;
  }

  u64(name: string): bigint {
    const value = this.raw(name);
    if (value === null) return 0n;
    const isInteger = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));
    if (!isInteger || value < 0 || value > u64Max) this.#refuse(name, 'an unsigned 64-bit integer', value);
    return BigInt(value);
  }

  list(name: string): readonly JSONValue[] {
    return listOf(this.raw(name), `${this.#what}.${name}`);
  }

  texts(name: string): string[] {
    return textsOf(this.raw(name), `${this.#what}.${name}`);
  }

  /** A 16-byte id: shorter ones are padded, surplus is ignored, each element is a byte. */
  id(name: string): Uint8Array {
    const id = new Uint8Array(16);
    let index = 0;
    for (const value of this.list(name)) {
      const isByte = typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 255;
      if (!isByte) this.#refuse(name, 'a list of bytes', value);
      if (index < 16) id[index++] = value;
    }
    return id;
  }

  #refuse(name: string, expected: string, value: JSONValue): never {
    refuse(name === '' ? this.#what : `${this.#what}.${name}`, expected, value);
  }
}

/** A list, or null read as an empty one. */
export function listOf(value: JSONValue, what: string): readonly JSONValue[] {
  if (value === null) return [];
  if (!Array.isArray(value)) refuse(what, 'a list', value);
  return value;
}

/** A list of strings; a null element reads as an empty string. */
export function textsOf(value: JSONValue, what: string): string[] {
  return listOf(value, what).map((element) => {
    if (element === null) return '';
    if (typeof element !== 'string') refuse(what, 'a list of strings', element);
    return element;
  });
}

function refuse(what: string, expected: string, value: JSONValue): never {
  const shown =
    typeof value === 'object' ? (Array.isArray(value) ? 'a list' : 'an object') : String(value).slice(0, 40);
  throw new SnapferryError('PROTOCOL_VIOLATION', `${what}: expected ${expected}, got ${shown}`);
}

/** What a request is answered with whose body is not what its type says; the connection is in step. */
export function undecodable(cause: unknown): SnapferryError {
  return new SnapferryError('INVALID_REQUEST', toSnapferryError(cause).message, { cause });
}
