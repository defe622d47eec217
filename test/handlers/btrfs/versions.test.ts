import { describe, expect, test } from 'vitest';
import { copiesOf } from '../../../src/handlers/btrfs/copies.ts';
import type { Subvolume, SubvolumeView } from '../../../src/handlers/btrfs/subvolumes.ts';
import { foldUUID } from '../../../src/handlers/btrfs/uuid.ts';
import { datasetsBelow, nestedIn, snapshotsOf } from '../../../src/handlers/btrfs/versions.ts';

const uuid = (number: number): string => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;

interface Made {
  readonly path: string;
  readonly rw?: boolean;
  readonly parent?: number;
  readonly received?: number;
}

/** Subvolumes in the order in which they were made, numbered from 1. */
function view(...made: readonly Made[]): SubvolumeView {
  const subvolumes = made.map(({ path, rw = false, parent, received }, index): Subvolume => ({
    id: 256 + index,
    generation: BigInt(10 + index),
    createdGeneration: BigInt(10 + index),
    uuid: uuid(index + 1),
    parentUUID: parent === undefined ? null : uuid(parent),
    receivedUUID: received === undefined ? null : uuid(received),
    topPath: path.slice(1),
    path,
    isReadOnly: !rw,
    creation: null,
  }));
  return {
    subvolumes,
    byPath: new Map(subvolumes.map((subvolume) => [subvolume.path, subvolume])),
    writableUUIDs: new Set(subvolumes.filter(({ isReadOnly }) => !isReadOnly).map((subvolume) => subvolume.uuid)),
  };
}

const names = (found: readonly { version: { name: string } }[]): string[] => found.map(({ version }) => version.name);

describe('snapshots of a subvolume', () => {
  test('where snapferry, btrbk and snapper put them', () => {
    const seen = view(
      { path: '/data/@home', rw: true },
      { path: '/data/@home@one', parent: 1 },
      { path: '/data/.snapshots/@home.20240101T0000', parent: 1 },
      { path: '/data/.snapshots/@home@two', parent: 1 },
      { path: '/data/@home/.snapshots', rw: true },
      { path: '/data/@home/.snapshots/12/snapshot', parent: 1 },
      { path: '/data/@home/.snapshots/three', parent: 1 },
      { path: '/data/.snapshots/of whatever name', parent: 1 },
    );
    const found = snapshotsOf(seen, '/data/@home');
    expect(names(found)).toEqual(['one', '20240101T0000', 'two', '12', 'three', 'of whatever name']);
    expect(found[0]!.version).toEqual({
      type: 'snapshot',
      name: 'one',
      guid: foldUUID(uuid(2)),
      createTXG: 11n,
      creation: null,
    });
  });

  test('never what was made of another subvolume, is writable, unfinished or cannot be named', () => {
    const seen = view(
      { path: '/data/a', rw: true },
      { path: '/data/b', rw: true },
      { path: '/data/a@of-b', parent: 2 },
      { path: '/data/.snapshots/of-b', parent: 2 },
      { path: '/data/a@writable', rw: true, parent: 1 },
      { path: '/data/.snapferry-receiving-x', received: 99 },
      { path: '/data/a@with@two', parent: 1 },
      { path: '/data/a@with\ttab', parent: 1 },
      { path: '/elsewhere/a@one', parent: 1 },
      { path: '/data/ab@one', parent: 1 },
    );
    expect(snapshotsOf(seen, '/data/a')).toEqual([]);
  });

  test('those of a subvolume that was replaced by one of its snapshots stay', () => {
    const seen = view(
      { path: '/data/a@one', parent: 98 },
      { path: '/data/a', rw: true, parent: 1 },
      { path: '/data/a@two', parent: 2 },
    );
    expect(names(snapshotsOf(seen, '/data/a'))).toEqual(['one', 'two']);
  });

  test('two of one name are told apart', () => {
    const seen = view(
      { path: '/data/a', rw: true },
      { path: '/data/a@x', parent: 1 },
      { path: '/data/.snapshots/a.x', parent: 1 },
    );
    expect(names(snapshotsOf(seen, '/data/a'))).toEqual(['x', 'x.00000000']);
  });

  test('a copy has the guid of its original, a copy of a copy too, and so has a snapshot of a copy', () => {
    const seen = view(
      { path: '/b/a@one', received: 50 },
      { path: '/b/a@two', parent: 1, received: 51 },
      { path: '/b/a@three', parent: 2, received: 51 },
    );
    const found = snapshotsOf(seen, '/b/a');
    expect(found.map(({ version }) => version.guid)).toEqual([50, 51, 51].map((number) => foldUUID(uuid(number))));
  });

  test('in one generation the older id comes first', () => {
    const seen = view({ path: '/b/a@one', received: 50 }, { path: '/b/a@two', received: 51 });
    expect(snapshotsOf(seen, '/b/a').map(({ version }) => version.createTXG)).toEqual([10n, 11n]);
  });
});

describe('copies at a receiver', () => {
  test('read-only without a received UUID is no copy, and writable with none is a partial one', () => {
    const seen = view(
      { path: '/b/a@one', received: 50 },
      { path: '/b/a@flipped', parent: 1 },
      { path: '/b/a@partial', rw: true, parent: 1 },
    );
    expect(names(copiesOf(seen, '/b/a'))).toEqual(['one']);
  });

  test('snapshots taken there count, for sending back', () => {
    const seen = view({ path: '/b/a', rw: true }, { path: '/b/a@own', parent: 1 }, { path: '/b/a@back', received: 50 });
    expect(names(copiesOf(seen, '/b/a'))).toEqual(['own', 'back']);
  });
});

test('datasets are writable subvolumes, and what exists as copies only', () => {
  const seen = view(
    { path: '/data', rw: true },
    { path: '/data/@home', rw: true },
    { path: '/data/@home@one', parent: 2 },
    { path: '/data/@home/nested', rw: true },
    { path: '/data/copies/@web@one', received: 50 },
    { path: '/data/.snapferry-receiving-y', rw: true },
    { path: '/data/.snapferry/x', rw: true },
    { path: '/database', rw: true },
  );
  expect(datasetsBelow(seen, '/data')).toEqual(['/data', '/data/@home', '/data/@home/nested', '/data/copies/@web']);
  expect(datasetsBelow(seen, '/data/@home')).toEqual(['/data/@home', '/data/@home/nested']);
});

test('subvolumes inside are found, except where snapshots are', () => {
  const seen = view(
    { path: '/data/a', rw: true },
    { path: '/data/a/nested', rw: true },
    { path: '/data/a/.snapshots', rw: true },
    { path: '/data/a/.snapshots/1/snapshot', parent: 1 },
    { path: '/data/ab', rw: true },
  );
  expect(nestedIn(seen, '/data/a')).toEqual(['/data/a/nested']);
});
