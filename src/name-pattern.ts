import { SnapferryError } from './errors.ts';

/** What of a pattern has been read: as JavaScript writes it, and what it can cost. */
interface Piece {
  readonly js: string;
  /** In how many ways it can match a part of one name: a bound of what a matcher that backtracks tries. */
  readonly ways: number;
  /** Whether it can only match at the beginning of a name. */
  readonly isAnchored: boolean;
}

const nameCharactersMax = 255;
/** Two free repetitions over a whole name are within it, three are not. */
const waysMax = 2 ** 18;

const posixClasses: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  blank: '\\t ',
  digit: '0-9',
  lower: 'a-z',
  punct: '!-\\/:-@\\[-`\\{-~',
  space: '\\s',
  upper: 'A-Z',
  word: '\\w',
  xdigit: '0-9A-Fa-f',
};

/**
 * Reads a regular expression for the names of snapshots, as zrepl's configuration has it (Go's syntax): what has no counterpart is
 * refused, not read as something else. Since names may come from a hostile peer, a pattern with which a name could keep us busy is
 * refused as well: in effect, one that repeats what repeats, or has more than two free repetitions.
 * @returns to be used with `test`; it has no state
 * @throws SnapferryError `INVALID_REQUEST` with the column and what to write instead
 */
export function compileNamePattern(source: string): RegExp {
  const [, letters = ''] = /^\(\?([a-zA-Z]+)\)/.exec(source) ?? [];
  for (const letter of letters) {
    if (!'ims'.includes(letter)) refuse(source, 0, `the flag "${letter}" is not known; there are i, m and s`);
  }
  const reader = new PatternReader(source, letters === '' ? 0 : letters.length + 3);
  const { js, ways, isAnchored } = reader.readAll();
  if (ways * (isAnchored ? 1 : nameCharactersMax) > waysMax) {
    const advice = isAnchored ? '' : ', and begin it with "^"';
    refuse(source, 0, `it could match in too many ways; use fewer "*", "+" and "?"${advice}`);
  }
  try {
    return new RegExp(js, `u${letters.includes('i') ? 'i' : ''}`);
  } catch (error) {
    return refuse(source, 0, error instanceof Error ? error.message : String(error));
  }
}

function refuse(source: string, position: number, why: string): never {
  throw new SnapferryError('INVALID_REQUEST', `regex ${JSON.stringify(source)}, column ${position + 1}: ${why}`);
}

const nothing: Piece = { js: '', ways: 1, isAnchored: false };

class PatternReader {
  readonly #source: string;
  #position: number;

  constructor(source: string, start: number) {
    this.#source = source;
    this.#position = start;
  }

  readAll(): Piece {
    const piece = this.#alternatives();
    if (this.#position < this.#source.length) this.#refuse('")" without "("');
    return piece;
  }

  #alternatives(): Piece {
    const branches = [this.#sequence()];
    while (this.#take(/\|/y) !== null) branches.push(this.#sequence());
    return {
      js: branches.map(({ js }) => js).join('|'),
      ways: branches.reduce((sum, { ways }) => sum + ways, 0),
      isAnchored: branches.every(({ isAnchored }) => isAnchored),
    };
  }

  #sequence(): Piece {
    let all = nothing;
    for (let index = 0; this.#position < this.#source.length && !/[|)]/y.test(this.#next()); index++) {
      const piece = this.#repeated();
      all = {
        js: all.js + piece.js,
        ways: all.ways * piece.ways,
        isAnchored: all.isAnchored || (index === 0 && piece.isAnchored),
      };
    }
    return all;
  }

  #next(): string {
    return this.#source[this.#position] ?? '';
  }

  #repeated(): Piece {
    const at = this.#position;
    const piece = this.#atom();
    const sign = this.#take(/[*+?]|\{\d+(?:,\d*)?\}/y);
    if (sign === null) return piece;
    const lazy = this.#take(/\?/y) ?? '';
    if (/^(?:[*+?]|\{\d+(?:,\d*)?\})/.test(this.#source.slice(this.#position))) {
      this.#refuse('nothing to repeat before it');
    }
    const [min, max] = boundsOf(sign);
    if (max < min || min > 1000 || (max !== Infinity && max > 1000)) refuse(this.#source, at, `"${sign}" is no range`);
    const isLast = /^\$?$/.test(this.#source.slice(this.#position));
    // Whatever comes at the end is matched by the first attempt.
    const ways = isLast && this.#source.slice(at).startsWith('.') ? 1 : repeatedWays(piece.ways, min, max);
    return { js: piece.js + sign + lazy, ways, isAnchored: min > 0 && piece.isAnchored };
  }

  #atom(): Piece {
    const at = this.#position;
    const character = this.#take(/[^]/uy) ?? '';
    switch (character) {
      case '^':
        return { js: '^', ways: 1, isAnchored: true };
      case '(':
        return this.#group(at);
      case '[':
        return plain(this.#characterClass(at));
      case '\\':
        return this.#escape(at);
      case '*':
      case '+':
      case '?':
        return refuse(this.#source, at, `nothing to repeat before "${character}"`);
      case '{':
      case '}':
      case ']':
        return plain(`\\${character}`);
      default:
        return plain(character);
    }
  }

  #group(at: number): Piece {
    let open = '(?:';
    const kind = this.#take(/\?(?::|P?<(?![=!])([A-Za-z_]\w*)>)/y);
    if (kind === null && this.#next() === '?') {
      refuse(
        this.#source,
        at,
        'only groups are known here; flags go to the very beginning, and there is no looking around',
      );
    }
    if (kind !== null && kind !== '?:') open = kind.replace('?P<', '?<').replace(/^/, '(');
    const inside = this.#alternatives();
    if (this.#take(/\)/y) === null) refuse(this.#source, at, '"(" without ")"');
    return { ...inside, js: `${open}${inside.js})` };
  }

  #characterClass(at: number): string {
    let js = `[${this.#take(/\^/y) ?? ''}`;
    for (let isFirst = true; ; isFirst = false) {
      const itemAt = this.#position;
      const item = this.#take(/\[:\^?\w+:\]|\\x\{[0-9A-Fa-f]+\}|\\x[0-9A-Fa-f]{2}|\\[^]|[^]/uy);
      if (item === null) return refuse(this.#source, at, '"[" without "]"');
      if (item === ']' && !isFirst) return `${js}]`;
      if (item.startsWith('[:')) js += this.#posixClass(item, itemAt);
      else if (item.startsWith('\\')) js += this.#escaped(item, itemAt);
      else js += /[[\]\\^]/.test(item) ? `\\${item}` : item;
    }
  }

  #posixClass(item: string, at: number): string {
    const found = posixClasses[item.slice(2, -2)];
    return found ?? refuse(this.#source, at, `the class ${item} is not known`);
  }

  #escape(at: number): Piece {
    const rest = this.#take(/x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|[^]/uy);
    if (rest === null) refuse(this.#source, at, '"\\" at the end');
    if (rest === 'A') return { js: '^', ways: 1, isAnchored: true };
    if (rest === 'z') return plain('$');
    if (rest === 'b' || rest === 'B') return plain(`\\${rest}`);
    return plain(this.#escaped(`\\${rest}`, at));
  }

  /** An escape that stands for one character or a class of them. */
  #escaped(item: string, at: number): string {
    const letter = item.slice(1);
    if (/^[dDwWsStnrfv]$/.test(letter)) return item;
    if (/^x\{/.test(letter)) return `\\u${letter.slice(1)}`;
    if (/^x../.test(letter)) return item;
    if (/^[0-9]$/.test(letter)) refuse(this.#source, at, `${item}: there are no references to groups here`);
    if (/^[A-Za-z]$/.test(letter)) refuse(this.#source, at, `the escape ${item} is not known`);
    // Any other character stands for itself; JavaScript wants an escape only where it means something.
    return /[\^$\\.*+?()[\]{}|/-]/.test(letter) ? `\\u{${letter.codePointAt(0)?.toString(16) ?? ''}}` : letter;
  }

  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#position;
    const [found = null] = pattern.exec(this.#source) ?? [];
    if (found !== null) this.#position += found.length;
    return found;
  }

  #refuse(why: string): never {
    return refuse(this.#source, this.#position, why);
  }
}

function plain(js: string): Piece {
  return { js, ways: 1, isAnchored: false };
}

function boundsOf(sign: string): [number, number] {
  if (sign === '*') return [0, Infinity];
  if (sign === '+') return [1, Infinity];
  if (sign === '?') return [0, 1];
  const [min = '', max] = sign.slice(1, -1).split(',');
  return [Number(min), max === undefined ? Number(min) : max === '' ? Infinity : Number(max)];
}

/** The sum of `ways` to the power of each number of repetitions. */
function repeatedWays(ways: number, min: number, max: number): number {
  const last = Math.min(max, Math.max(min, nameCharactersMax));
  if (ways === 1) return last - min + 1;
  let sum = 0;
  for (let count = min; count <= last && sum <= waysMax; count++) sum += ways ** count;
  return sum;
}
