import type { LocatedProblem, ValuePath, YamlSource } from '../yaml-source.ts';

/** What a person has to know about something that was, or was not, taken over. */
export interface ImportNote {
  /** `dropped`: it has no counterpart here, or belongs elsewhere, and somebody has to look at it. `changed`: it is written differently. */
  readonly kind: 'dropped' | 'changed';
  /** One line: what, and why. */
  readonly message: string;
  /** The message with `file:line:column:` before it, the line itself and a mark below the place. */
  readonly text: string;
}

/** A value of a zrepl configuration, where it is, and whom to tell about it. */
export class ImportPlace {
  readonly value: unknown;
  readonly #source: YamlSource;
  readonly #path: ValuePath;
  readonly #tell: (note: ImportNote) => void;

  private constructor(source: YamlSource, tell: (note: ImportNote) => void, path: ValuePath, value: unknown) {
    this.#source = source;
    this.#tell = tell;
    this.#path = path;
    this.value = value;
  }

  /** The whole of a file. */
  static whole(source: YamlSource, tell: (note: ImportNote) => void): ImportPlace {
    return new ImportPlace(source, tell, [], source.value);
  }

  /** What is inside under a key or an index. */
  child(key: string | number): ImportPlace {
    const inside = (this.value as Record<PropertyKey, unknown> | null | undefined)?.[key];
    return new ImportPlace(this.#source, this.#tell, [...this.#path, key], inside);
  }

  /** Its items; none if it is no list. */
  items(): ImportPlace[] {
    return Array.isArray(this.value) ? this.value.map((_, index) => this.child(index)) : [];
  }

  /** Its keys; none if it is no mapping. */
  keys(): string[] {
    return this.isMapping() ? Object.keys(this.value as object) : [];
  }

  /** Whether it is a mapping. */
  isMapping(): boolean {
    return typeof this.value === 'object' && this.value !== null && !Array.isArray(this.value);
  }

  /** The value if it is a text. */
  text(): string | undefined {
    return typeof this.value === 'string' ? this.value : undefined;
  }

  /** It is not taken over. */
  drop(why: string): null {
    this.#note('dropped', why);
    return null;
  }

  /** It is taken over as something else. */
  change(how: string): void {
    this.#note('changed', how);
  }

  /**
   * Turns a mapping into another, key by key in the order written. A key without a conversion is none of zrepl's: it is dropped. What
   * is converted to undefined or null is left out.
   */
  convert(conversions: Conversions): Record<string, unknown> {
    const result: Record<string, unknown> = {};
    for (const key of this.keys()) {
      const place = this.child(key);
      const convert = Object.hasOwn(conversions, key) ? conversions[key] : undefined;
      const value = convert === undefined ? place.drop(`"${key}" is no key of zrepl 0.7 here`) : convert(place);
      if (value !== undefined && value !== null) result[key] = value;
    }
    return result;
  }

  #note(kind: ImportNote['kind'], message: string): void {
    const { text }: LocatedProblem = this.#source.at(this.#path, message, 'key');
    this.#tell({ kind, message, text });
  }
}

/** How the value under a key is turned into ours; undefined or null leaves it out. */
export type Conversions = Readonly<Record<string, (place: ImportPlace) => unknown>>;

/** Means the same here. */
export const same = (place: ImportPlace): unknown => place.value ?? undefined;

/** Is not taken over, and nobody misses it: it was off, or did nothing. */
export const silently = (): undefined => undefined;
