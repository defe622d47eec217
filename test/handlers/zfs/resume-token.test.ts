import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../../src/errors.ts';
import { decodeResumeToken } from '../../../src/handlers/zfs/resume-token.ts';
import { flag, pack, packedToken, text, tokenOf, u64 } from '../../support/zfs-token.ts';

/** As ZFS 2.1 printed them. */
const recorded = {
  full: '1-909652eb2-b8-789c636064000310a500c4ec50360710e72765a52697303030419460caa7a515a7968064bce0f26c48f2499525a9c5403ac0c207abfe92fcf4d2cc140686e717a7724655f84b6b20c97382e5f312735319188a8b92f59332d31df2f35219600000febe160d',
  incremental:
    '1-af6f31838-e0-789c636064000310a501c49c50360710a715e5e7a69766a63040c1f38b5339a32afca515806c762475f94959a9c9250c0c0d507518f26969c5a92520192db83c1b927c5265496a3148dc4407abfe927c882b165d3baab2605d31a306923c27583e2f31379581a1b828593f2933dda1a43c1fe66406006b921de9',
};

function failureOf(token: string): unknown {
  try {
    decodeResumeToken(token);
    return null;
  } catch (error) {
    return error;
  }
}

describe('a token that ZFS made', () => {
  test('of a full stream', () => {
    expect(decodeResumeToken(recorded.full)).toEqual({
      dataset: 'src/big',
      snapshot: 'one',
      toGuid: 0x1b4f785a0995d1e7n,
      fromGuid: null,
      bytes: 0x4c3850n,
      isRaw: false,
      isCompressed: false,
      hasLargeBlocks: false,
      hasEmbedded: false,
    });
  });

  test('of an incremental one', () => {
    expect(decodeResumeToken(recorded.incremental)).toMatchObject({
      dataset: 'src/big',
      snapshot: 'two',
      toGuid: 0x173aea024c5d6a2n,
      fromGuid: 0x1b4f785a0995d1e7n,
    });
  });

  test('is the same as what we would make of its content', () => {
    const made = tokenOf({
      toName: 'src/big@one',
      toGuid: 0x1b4f785a0995d1e7n,
      object: 2n,
      offset: 0x4a0000n,
      bytes: 0x4c3850n,
    });
    expect(decodeResumeToken(made)).toEqual(decodeResumeToken(recorded.full));
  });

  test('with one character changed, anywhere, or cut anywhere, is refused', () => {
    const { full } = recorded;
    for (let index = 0; index < full.length; index++) {
      const other = full[index] === '0' ? '1' : '0';
      const changed = full.slice(0, index) + other + full.slice(index + 1);
      // The checksum leaves out what follows the last whole word; zlib has one of its own.
      expect(failureOf(changed), `character ${index}`).toMatchObject({ code: 'RESUME_TOKEN_INVALID' });
      expect(failureOf(full.slice(0, index)), `cut at ${index}`).toMatchObject({ code: 'RESUME_TOKEN_INVALID' });
    }
  });
});

describe('a crafted token', () => {
  const sound = { toName: 'tank/a@one', toGuid: 5n };

  test('says how the stream was made', () => {
    const flags = ['rawok', 'compressok', 'largeblockok', 'embedok'] as const;
    expect(decodeResumeToken(tokenOf({ ...sound, flags }))).toMatchObject({
      isRaw: true,
      isCompressed: true,
      hasLargeBlocks: true,
      hasEmbedded: true,
    });
  });

  test.each([
    'tank/a',
    'tank/a#one',
    '@one',
    'tank/a@',
    '-t@one',
    'tank/../b@one',
    'tank/a@one@two',
    'tank/a@one\n',
    'tank/a@$(id)',
    `tank/${'a'.repeat(250)}@one`,
    '',
  ])('that names %j is refused', (toName) => {
    expect(failureOf(tokenOf({ ...sound, toName }))).toMatchObject({ code: 'RESUME_TOKEN_INVALID' });
  });

  test('that inflates to more than a bound is refused without being inflated', () => {
    const bomb = Buffer.alloc(64 * 1024 + 1);
    expect(failureOf(packedToken(bomb))).toMatchObject({ message: expect.stringContaining('inflated') as string });
    expect(failureOf(packedToken(bomb.subarray(1)))).toMatchObject({
      message: expect.stringContaining('damaged') as string,
    });
  });

  test('that is longer than any real one is refused unread', () => {
    const long = `1-0-0-${'00'.repeat(8192)}`;
    expect(failureOf(long)).toMatchObject({ message: expect.stringContaining('form') as string });
  });

  test('with the wrong type, a name twice, no end, or something after the end is refused', () => {
    const guid = u64('toguid', 5n);
    const name = text('toname', 'tank/a@one');
    const all = [
      pack([text('toguid', '5'), name]),
      pack([guid, guid, name]),
      pack([guid, u64('toname', 1n)]),
      pack([name]),
      pack([guid, name]).subarray(0, -4),
      Buffer.concat([pack([guid, name]), Buffer.alloc(4)]),
      pack(Array.from({ length: 65 }, (_, index) => flag(`f${index}`))),
    ];
    for (const packed of all) expect(failureOf(packedToken(packed))).toMatchObject({ code: 'RESUME_TOKEN_INVALID' });
    expect(failureOf(packedToken(pack([guid, name])))).toBeNull();
  });

  test('of another encoding is refused', () => {
    for (const [index, value] of [
      [0, 1],
      [1, 0],
    ] as const) {
      const packed = pack([u64('toguid', 5n), text('toname', 'tank/a@one')]);
      packed[index] = value;
      expect(failureOf(packedToken(packed))).toMatchObject({ code: 'RESUME_TOKEN_INVALID' });
    }
  });
});

describe('fuzzed', () => {
  /** Nothing but a result or the one error, whatever is put in. */
  function expectVerdict(token: string): void {
    const failure = failureOf(token);
    if (failure === null) return;
    expect(failure).toBeInstanceOf(SnapferryError);
    expect(failure).toMatchObject({ code: 'RESUME_TOKEN_INVALID', connectionDead: false });
  }

  test('any text', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' })), expectVerdict));
  });

  test('any content under a right checksum', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => expectVerdict(packedToken(Buffer.from(bytes)))),
    );
  });

  test('a sound list with some of its bytes changed', () => {
    const packed = pack([u64('fromguid', 3n), u64('toguid', 5n), text('toname', 'tank/a@one'), flag('rawok')]);
    const changes = fc.array(fc.tuple(fc.nat(packed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(changes, (list) => {
        const changed = Buffer.from(packed);
        for (const [index, value] of list) changed[index] = value;
        expectVerdict(packedToken(changed));
      }),
      { numRuns: 2000 },
    );
  });

  test('any compressed bytes that are no zlib stream', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(200), (bytes, cut) => {
        const compressed = Buffer.concat([deflateSync(Buffer.alloc(300)).subarray(0, cut), bytes]);
        expectVerdict(packedToken(Buffer.alloc(0), compressed));
      }),
    );
  });
});
