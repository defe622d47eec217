import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AddressIdentities } from '../../src/transport/address-identities.ts';

describe('AddressIdentities', () => {
  const identities = new AddressIdentities({
    '10.0.0.0/8': 'office',
    '10.1.2.3': 'web1',
    '10.1.0.0/16': 'lab',
    'fd00::/8': 'vpn',
    'fd00::7': 'db1',
    '127.0.0.1': 'here',
  });

  test.each([
    ['10.1.2.3', 'web1'],
    ['::ffff:10.1.2.3', 'web1'],
    ['10.1.2.4', 'lab'],
    ['10.2.0.1', 'office'],
    ['11.0.0.1', undefined],
    ['fd00::7', 'db1'],
    ['fd00:0:0:0::7', 'db1'],
    ['fd12::1', 'vpn'],
    ['fe80::1%eth0', undefined],
    ['::1', undefined],
    ['127.0.0.1', 'here'],
    ['', undefined],
    ['not an address', undefined],
  ])('%j is %j', (address, expected) => {
    expect(identities.of(address)).toBe(expected);
  });

  test('a network that covers everything', () => {
    expect(new AddressIdentities({ '0.0.0.0/0': 'any' }).of('192.0.2.1')).toBe('any');
    expect(new AddressIdentities({ '0.0.0.0/0': 'any' }).of('2001:db8::1')).toBeUndefined();
    expect(new AddressIdentities({ '::/0': 'any' }).of('192.0.2.1')).toBe('any');
  });

  test.each([
    'web1',
    '10.0.0.0/33',
    '10.0.0.0/x',
    '10.0.0.0/8/8',
    'fd00::/129',
    '10.0.0.1/8',
    'fe80::1%eth0',
    '/8',
    '',
  ])('the key %j is refused', (network) => {
    expect(() => new AddressIdentities({ [network]: 'x' })).toThrow(/neither an address|beyond its prefix/);
  });

  test('an empty identity is refused', () => {
    expect(() => new AddressIdentities({ '10.0.0.1': '' })).toThrow('is empty');
  });

  test('every IPv4 address is in its own networks, and in no other of the same length', () => {
    const octet = fc.nat(255);
    fc.assert(
      fc.property(fc.tuple(octet, octet, octet, octet), fc.integer({ min: 1, max: 32 }), (octets, prefixBits) => {
        const value = octets.reduce((sum, part) => sum * 256 + part, 0);
        const step = 2 ** (32 - prefixBits);
        const network = Math.floor(value / step) * step;
        const other = (network + step) % 2 ** 32;
        const text = (number: number): string => [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join('.');
        const table = new AddressIdentities({ [`${text(network)}/${prefixBits}`]: 'in' });
        expect(table.of(text(value))).toBe('in');
        expect(table.of(text(other))).toBeUndefined();
      }),
    );
  });

  test.each([
    ['10.1.2.3', 'client-10.1.2.3'],
    ['::ffff:10.1.2.3', 'client-10.1.2.3'],
    ['fd00::7', 'v6:fd00:0:0:0:0:0:0:7'],
    ['fd00:0::0007', 'v6:fd00:0:0:0:0:0:0:7'],
  ])('%s, where a star stands for the address, is %s', (address, expected) => {
    const each = new AddressIdentities({ '10.0.0.0/8': 'client-*', 'fd00::/8': 'v6:*' });
    expect(each.of(address)).toBe(expected);
  });
});
