import { describe, expect, it } from 'vitest';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { confinedSink, isWithin, placeOfIdentity } from '../../src/handlers/confine-dataset.ts';
import type { ReplicationSink, TransferBytes } from '../../src/sink.ts';

const version: FilesystemVersion = { type: 'snapshot', name: 'a', guid: 1n, createTXG: 1n, creation: null };

function recordingSink() {
  const reached: string[] = [];
  const note = <T>(name: string, filesystem: readonly string[], result: T): Promise<T> => {
    reached.push(`${name} ${filesystem.join('/')}`);
    return Promise.resolve(result);
  };
  const sink: ReplicationSink = {
    filesystemVersions: (filesystem) => note('versions', filesystem, null),
    missing: (filesystem) => note('missing', filesystem, []),
    settle: (filesystem) => note('settle', filesystem, []),
    resumeState: (filesystem) => note('resume', filesystem, null),
    discardPartial: (filesystem) => note('discard', filesystem, undefined),
    createParents: (filesystem) => note('parents', filesystem, undefined),
    receive: ({ filesystem }) => note('receive', filesystem, { notices: [], missing: [] }),
  };
  return { sink, reached };
}

/** Bytes that tell whether their reader has left them. */
function leavableBytes(): { bytes: TransferBytes; isLeft: () => boolean } {
  let isLeft = false;
  const iterator = {
    next: () => Promise.resolve({ done: false as const, value: new Uint8Array(1) }),
    return() {
      isLeft = true;
      return Promise.resolve({ done: true as const, value: undefined });
    },
  };
  return { bytes: { [Symbol.asyncIterator]: () => iterator }, isLeft: () => isLeft };
}

const methods = [
  (sink: ReplicationSink, filesystem: string[]) => sink.filesystemVersions(filesystem),
  (sink: ReplicationSink, filesystem: string[]) => sink.missing!(filesystem, version),
  (sink: ReplicationSink, filesystem: string[]) => sink.settle!(filesystem, version),
  (sink: ReplicationSink, filesystem: string[]) => sink.resumeState(filesystem),
  (sink: ReplicationSink, filesystem: string[]) => sink.discardPartial(filesystem),
  (sink: ReplicationSink, filesystem: string[]) => sink.createParents(filesystem),
  (sink: ReplicationSink, filesystem: string[]) =>
    sink.receive({ filesystem, from: null, to: version, format: null, resumed: false }, leavableBytes().bytes),
];

describe('confinedSink', () => {
  it('has a case here for every method of a sink', () => {
    expect(methods).toHaveLength(Object.keys(confinedSink(recordingSink().sink, ['backup'])).length);
  });

  it('passes on what is at the place or below it', async () => {
    for (const filesystem of [
      ['backup', 'web1'],
      ['backup', 'web1', 'tank', 'home'],
    ]) {
      const { sink, reached } = recordingSink();
      for (const method of methods) await method(confinedSink(sink, ['backup', 'web1']), filesystem);
      expect(reached).toHaveLength(methods.length);
    }
  });

  it.each([
    [['backup'], 'ACCESS_DENIED'],
    [['backup', 'web2'], 'ACCESS_DENIED'],
    [['backup', 'web11'], 'ACCESS_DENIED'],
    [['tank', 'web1'], 'ACCESS_DENIED'],
    [['backup', 'web1', '..', 'web2'], 'INVALID_REQUEST'],
    [['backup', 'web1/../web2'], 'INVALID_REQUEST'],
    [['backup/web1'], 'INVALID_REQUEST'],
    [[], 'INVALID_REQUEST'],
  ])('refuses %j everywhere', async (filesystem, code) => {
    const { sink, reached } = recordingSink();
    for (const method of methods) {
      await expect(method(confinedSink(sink, ['backup', 'web1']), filesystem)).rejects.toMatchObject({ code });
    }
    expect(reached).toEqual([]);
  });

  it('leaves the bytes of what it refuses', async () => {
    const { bytes, isLeft } = leavableBytes();
    const request = { filesystem: ['tank'], from: null, to: version, format: null, resumed: false };
    await expect(confinedSink(recordingSink().sink, ['backup']).receive(request, bytes)).rejects.toThrow(/not below/);
    expect(isLeft()).toBe(true);
  });

  it('leaves absent what the sink lacks', () => {
    const { sink } = recordingSink();
    delete sink.missing;
    delete sink.settle;
    const confined = Object.keys(confinedSink(sink, ['backup']));
    expect(confined).not.toContain('missing');
    expect(confined).not.toContain('settle');
  });
});

describe('placeOfIdentity', () => {
  it('is the root with the identity below it', () => {
    expect(placeOfIdentity(['backup'], 'web1.example.org')).toEqual(['backup', 'web1.example.org']);
    expect(placeOfIdentity(['backup'], 'ssh:ann')).toEqual(['backup', 'ssh:ann']);
  });

  it.each(['', '..', '.', '-r', 'a/b', 'a@b', 'a#b', 'a b', 'a\nb', '%recv', 'x'.repeat(256)])(
    'refuses the identity %j',
    (identity) => {
      expect(() => placeOfIdentity(['backup'], identity)).toThrow();
    },
  );
});

it('isWithin compares whole components', () => {
  expect(isWithin(['a', 'b'], ['a', 'b'])).toBe(true);
  expect(isWithin(['a', 'b'], ['a', 'b', 'c'])).toBe(true);
  expect(isWithin(['a', 'b'], ['a', 'bc'])).toBe(false);
  expect(isWithin(['a', 'b'], ['a'])).toBe(false);
});
