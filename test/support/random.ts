/** Draws that a seed replays. */
export interface Random {
  /** An integer from 0 to below `bound`. */
  below(bound: number): number;
  /** One of them. */
  pick<T>(from: readonly T[]): T;
  chance(probability: number): boolean;
}

/** The generator "mulberry32": small, and the same on every machine. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    below: (bound) => Math.floor(next() * bound),
    pick(from) {
      if (from.length === 0) throw new RangeError('nothing to pick from');
      return from[Math.floor(next() * from.length)]!;
    },
    chance: (probability) => next() < probability,
  };
}
