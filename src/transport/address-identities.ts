import { isIP, isIPv6 } from 'node:net';
import { SnapferryError } from '../errors.ts';

interface Entry {
  readonly bits: bigint;
  readonly prefixBits: number;
  readonly identity: string;
}

/**
 * Which identity a plain TCP connection from an address gets. Keys are addresses or networks (`192.0.2.7`,
 * `10.1.0.0/16`, `fd00::/8`); the most specific one wins; an address none of them covers has no identity. A `*` in an identity stands for
 * the address, so that every one of a network has an identity of its own.
 */
export class AddressIdentities {
  readonly #entries: readonly Entry[];

  /** @throws SnapferryError `INVALID_REQUEST` for a key that is no network, or an empty identity */
  constructor(identities: Readonly<Record<string, string>>) {
    this.#entries = Object.entries(identities)
      .map(([network, identity]) => parseEntry(network, identity))
      .sort((one, other) => other.prefixBits - one.prefixBits);
  }

  /** The identity for an address as Node gives it (`::ffff:192.0.2.7` is the IPv4 address), or undefined. */
  of(address: string): string | undefined {
    const bare = address.replace(/%.*$/, '');
    if (isIP(bare) === 0) return undefined;
    const bits = addressBits(bare);
    const found = this.#entries.find((entry) => {
      const ignored = 128n - BigInt(entry.prefixBits);
      return entry.bits >> ignored === bits >> ignored;
    });
    return found?.identity.replaceAll('*', () => plainAddress(bits));
  }
}

function parseEntry(network: string, identity: string): Entry {
  const [address = '', prefix, ...rest] = network.split('/');
  const version = isIP(address);
  const widthBits = version === 4 ? 32 : 128;
  const prefixBits = prefix === undefined ? widthBits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN;
  if (version === 0 || address.includes('%') || rest.length > 0 || !(prefixBits <= widthBits)) {
    throw invalid(`${JSON.stringify(network)} is neither an address nor a network such as 10.1.0.0/16 or fd00::/8`);
  }
  if (identity === '') throw invalid(`the identity for ${network} is empty`);
  const bits = addressBits(address);
  const entry = { bits, prefixBits: prefixBits + 128 - widthBits, identity };
  const hostBits = 128n - BigInt(entry.prefixBits);
  if ((bits >> hostBits) << hostBits !== bits) {
    throw invalid(
      `${network} has bits set beyond its prefix; write the network's own address, or the host with /${widthBits}`,
    );
  }
  return entry;
}

/** An address as a 128-bit number; IPv4 in its IPv6-mapped place, where a dual-stack socket sees it. */
function addressBits(address: string): bigint {
  if (!isIPv6(address)) return (0xffffn << 32n) | ipv4Bits(address);
  const lastColon = address.lastIndexOf(':');
  const tail = address.slice(lastColon + 1);
  const hex = tail.includes('.')
    ? `${address.slice(0, lastColon + 1)}${(ipv4Bits(tail) >> 16n).toString(16)}:${(ipv4Bits(tail) & 0xffffn).toString(16)}`
    : address;
  const [before = '', after] = hex.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [head, end] = [groups(before), groups(after ?? '')];
  const zeros = Array.from({ length: 8 - head.length - end.length }, () => '0');
  return [...head, ...zeros, ...end].reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n);
}

/** One way of writing each address, since it becomes part of names: IPv4 as such, IPv6 without leaving anything out. */
function plainAddress(bits: bigint): string {
  if (bits >> 32n === 0xffffn) return [24n, 16n, 8n, 0n].map((shift) => (bits >> shift) & 0xffn).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => (bits >> BigInt(112 - 16 * index)) & 0xffffn);
  return groups.map((group) => group.toString(16)).join(':');
}

function ipv4Bits(address: string): bigint {
  return address.split('.').reduce((bits, part) => (bits << 8n) | BigInt(part), 0n);
}

function invalid(message: string): SnapferryError {
  return new SnapferryError('INVALID_REQUEST', message);
}
