import { SnapferryError } from '../errors.ts';

const unitBytes = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
} as const;

type Unit = keyof typeof unitBytes;

const units = Object.keys(unitBytes) as Unit[];
const sizePattern = /^(\d+(?:\.\d+)?)\s*(\S*)$/;

/**
 * Reads a size as it is written in configuration: a number and a unit, `512 KiB`, `10MiB`, `1.5 GiB` (powers of 1024) or `10 MB`
 * (powers of 1000). A unit that could be read in two ways is refused: `M`, `mb`, and bits (`Mb`, `Mbit`). More than zero.
 * @returns whole bytes, rounded to the nearest
 * @throws SnapferryError `INVALID_REQUEST` with what is wrong and how to write it
 */
export function parseSize(text: string): number {
  const refuse = (why: string): never => {
    const example = 'write for example "512 KiB", "10 MiB" or "1.5 GiB"';
    throw new SnapferryError('INVALID_REQUEST', `size ${JSON.stringify(text)} ${why}; ${example}`);
  };
  const parts = sizePattern.exec(text.trim());
  if (parts === null) return refuse('is not a number and a unit');
  const [, number = '', unit = ''] = parts;
  if (!Object.hasOwn(unitBytes, unit)) refuse(unknownUnit(unit));
  const bytes = Math.round(Number(number) * unitBytes[unit as Unit]);
  if (bytes < 1) refuse('is less than one byte');
  if (!Number.isSafeInteger(bytes)) refuse('is too large');
  return bytes;
}

function unknownUnit(unit: string): string {
  if (unit === '') return 'has no unit';
  const binary = /^([kmgt])$/i.exec(unit)?.[1]?.toUpperCase();
  if (binary !== undefined) {
    const decimal = binary === 'K' ? 'kB' : `${binary}B`;
    return `has the unit "${unit}", which could be "${binary}iB" (powers of 1024) or "${decimal}" (powers of 1000)`;
  }
  if (/^[kmgt]i?(b|bits?)$/i.test(unit) && !/B$/.test(unit)) {
    return `has the unit "${unit}", which could be bits; sizes and rates are in bytes`;
  }
  const close = units.find((known) => known.toLowerCase() === unit.toLowerCase());
  if (close !== undefined) return `has the unit "${unit}"; it is written "${close}"`;
  return `has the unknown unit "${unit}"; there are ${units.join(', ')}`;
}
