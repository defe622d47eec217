import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bookmarkName,
  holdTag,
  ownerText,
  parseBookmarkName,
  parseHoldTag,
} from '../../../src/handlers/zfs/names-ours.ts';
import {
  checkDatasetName,
  checkHoldTag,
  datasetName,
  splitVersionName,
  versionName,
} from '../../../src/handlers/zfs/names.ts';

const refused = { code: 'INVALID_REQUEST' };

function refusal(work: () => unknown): unknown {
  try {
    work();
    return null;
  } catch (error) {
    return error;
  }
}

describe('dataset names', () => {
  test.each(['tank', 'tank/home', 'tank/with space', 'tank/a:b_c.d-e', `tank/${'a'.repeat(250)}`])(
    '%j is one',
    (name) => {
      expect(datasetName(name.split('/'))).toBe(name);
    },
  );

  test.each([
    '',
    '-r',
    '-tank/home',
    '/tank',
    'tank/',
    'tank//home',
    'tank/.',
    'tank/../etc',
    'tank/-rf',
    'tank@one',
    'tank#one',
    'tank/a%recv',
    'tank/a\tb',
    'tank/a\nb',
    'tank/a\0',
    'tank/ä',
    'tank/a,b',
    'tank/a?',
    "tank/'a'",
    '1tank',
    `tank/${'a'.repeat(251)}`,
  ])('%j is none', (name) => {
    expect(refusal(() => checkDatasetName(name))).toMatchObject(refused);
  });

  test('a component with a slash is none', () => {
    expect(refusal(() => datasetName(['tank', 'a/b']))).toMatchObject(refused);
    expect(refusal(() => datasetName([]))).toMatchObject(refused);
  });

  test('whatever passes is no option, names one thing, and is short enough', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary-ascii' }), (text) => {
        const name = `tank/${text}`;
        if (refusal(() => checkDatasetName(name)) !== null) return;
        expect(name).toMatch(/^[A-Za-z][A-Za-z0-9_.:/ -]*$/);
        expect(name.length).toBeLessThanOrEqual(255);
      }),
    );
  });
});

describe('versions', () => {
  test('have one full name', () => {
    expect(versionName('tank/a', { type: 'snapshot', name: 'one' })).toBe('tank/a@one');
    expect(versionName('tank/a', { type: 'bookmark', name: 'one' })).toBe('tank/a#one');
    expect(splitVersionName('tank/a@one')).toEqual({ dataset: 'tank/a', type: 'snapshot', name: 'one' });
    expect(splitVersionName('tank/a')).toBeNull();
    expect(splitVersionName('@one')).toBeNull();
  });

  test.each(['', '-n', 'a@b', 'a#b', 'a/b', 'a%b', 'a,b', 'a\n', '..', '../../x', 'x'.repeat(249)])(
    '%j is no name',
    (name) => {
      expect(refusal(() => versionName('tank/a', { type: 'snapshot', name }))).toMatchObject(refused);
    },
  );

  test('of another type than ZFS knows are refused', () => {
    expect(refusal(() => versionName('tank/a', { type: 'clone', name: 'one' }))).toMatchObject(refused);
  });

  test('have 255 bytes at most, with their dataset', () => {
    const name = 'x'.repeat(248);
    expect(versionName('tank/a', { type: 'snapshot', name })).toHaveLength(255);
    expect(refusal(() => versionName('tank/ab', { type: 'snapshot', name }))).toMatchObject(refused);
  });
});

describe('hold tags', () => {
  test('have 255 bytes at most: ZFS takes one of 256, and hangs', () => {
    checkHoldTag('t'.repeat(255));
    for (const tag of ['t'.repeat(256), 't'.repeat(257), 'ä'.repeat(128)]) {
      expect(refusal(() => checkHoldTag(tag))).toMatchObject(refused);
    }
  });

  test.each(['', '.dot', '-r', 'a\tb', 'a\nb'])('%j is none', (tag) => {
    expect(refusal(() => checkHoldTag(tag))).toMatchObject(refused);
  });
});

describe('what is ours', () => {
  const jobIds = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$/);

  test('tags are read back, and never longer than is safe', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), jobIds, (identity, jobId) => {
        for (const kind of ['STEP', 'LAST'] as const) {
          const tag = holdTag(kind, { identity, jobId });
          checkHoldTag(tag);
          expect(parseHoldTag(tag)).toEqual({ kind, owner: ownerText({ identity, jobId }) });
        }
      }),
    );
  });

  test('bookmarks are read back', () => {
    const any = fc.record({
      kind: fc.constantFrom('CURSOR' as const, 'TENTATIVE' as const),
      isRaw: fc.boolean(),
      guid: fc.bigInt(0n, 2n ** 64n - 1n),
      owner: fc.tuple(fc.string({ unit: 'binary' }), jobIds).map(([identity, jobId]) => ownerText({ identity, jobId })),
    });
    fc.assert(
      fc.property(any, (bookmark) => {
        const name = bookmarkName(bookmark);
        versionName('t', { type: 'bookmark', name });
        expect(parseBookmarkName(name)).toEqual(bookmark);
      }),
    );
  });

  test('two owners never have the same text', () => {
    const owner = fc.record({ identity: fc.string({ unit: 'binary' }), jobId: jobIds });
    fc.assert(
      fc.property(owner, owner, (a, b) => {
        const isSame = a.identity === b.identity && a.jobId === b.jobId;
        expect(ownerText(a) === ownerText(b)).toBe(isSame);
      }),
    );
    // Where one ends and the other begins is not to be played with.
    expect(ownerText({ identity: 'a', jobId: 'b_J_c' })).not.toBe(ownerText({ identity: 'a_J_b', jobId: 'c' }));
    expect(ownerText({ identity: 'a b', jobId: 'c' })).not.toBe(ownerText({ identity: 'a:20b', jobId: 'c' }));
  });

  test.each(['', '.a', '-a', 'a b', 'a/b', 'a@b', 'ä', 'x'.repeat(101)])('%j is no job id', (jobId) => {
    expect(refusal(() => ownerText({ identity: '', jobId }))).toMatchObject(refused);
  });

  test.each([
    'zrepl_STEP_J_x',
    'snapferry_STEP',
    'snapferry_OTHER_I__J_x',
    'xsnapferry_STEP_I__J_x',
    'snapferry_STEP_J_x',
  ])('the tag %j is not', (tag) => {
    expect(parseHoldTag(tag)).toBeNull();
  });

  test.each(['mark', 'snapferry_CURSOR_G_12_I__J_x', 'zrepl_CURSOR_G_0000000000000001_J_x'])(
    'the bookmark %j is not',
    (name) => {
      expect(parseBookmarkName(name)).toBeNull();
    },
  );
});
