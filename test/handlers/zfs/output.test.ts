import { describe, expect, test } from 'vitest';
import {
  listVersionsArguments,
  sendArguments,
  sendDryRunArguments,
  bookmarkArguments,
  destroyBookmarkArguments,
  holdArguments,
  holdsArguments,
  releaseArguments,
} from '../../../src/handlers/zfs/commands.ts';
import { zfsCause, zfsFailure } from '../../../src/handlers/zfs/output-failure.ts';
import {
  parseDatasets,
  parseEstimate,
  parseHolds,
  parseVersionDetails,
  parseVersions,
} from '../../../src/handlers/zfs/output.ts';
import { recorded, recordings } from '../../support/zfs-recordings.ts';

const plain = { raw: false, largeBlocks: false, embedded: false, compressed: false, properties: false };

describe('commands', () => {
  test('are those that were recorded', () => {
    const pairs = [
      [
        listVersionsArguments('src/fix'),
        ['list', '-Hp', '-o', 'name,guid,createtxg,creation', '-t', 'snapshot,bookmark', '-d', '1', 'src/fix'],
      ],
      [
        sendDryRunArguments({ from: null, to: 'src/fix@base', flags: plain }),
        recorded('send: fixture streams', 'full: dry run').argv,
      ],
      [sendArguments({ from: null, to: 'src/fix@base', flags: plain }), ['send', 'src/fix@base']],
      [
        sendArguments({
          from: 'src/fix#base',
          to: 'src/fix@last',
          flags: { raw: true, largeBlocks: true, embedded: true, compressed: true, properties: true },
        }),
        ['send', '-wLecp', '-i', 'src/fix#base', 'src/fix@last'],
      ],
      [sendDryRunArguments({ resumeToken: '1-a-b-cd' }), ['send', '-nvP', '-t', '1-a-b-cd']],
      [holdArguments('bars:job', ['src/h@h3']), recorded('hold and release', 'hold again').argv],
      [releaseArguments('other', ['src/h@none']), recorded('hold and release', 'release on a missing snapshot').argv],
      [holdsArguments(['src/h@h3']), recorded('hold and release', 'holds').argv],
      [bookmarkArguments('src/fix@base', 'src/fix#base'), recorded('bookmark', 'taken already').argv],
      [destroyBookmarkArguments('src/fix#none'), recorded('bookmark', 'destroy a missing one').argv],
    ];
    for (const [made, expected] of pairs) expect(made).toEqual(expected);
  });

  test('are not made of what could be an option, several names, or another kind of thing', () => {
    const hostile = [
      () => listVersionsArguments('-r'),
      () => listVersionsArguments('tank@one'),
      () => sendArguments({ from: null, to: 'tank', flags: plain }),
      () => sendArguments({ from: '-x', to: 'tank@one', flags: plain }),
      () => sendArguments({ resumeToken: '-t' }),
      () => sendArguments({ resumeToken: '' }),
      () => sendArguments({ resumeToken: '1-a; id' }),
      () => holdArguments('t'.repeat(256), ['tank@one']),
      () => holdArguments('-r', ['tank@one']),
      () => holdArguments('tag', ['tank']),
      () => releaseArguments('tag', ['tank#one']),
      () => bookmarkArguments('tank', 'tank#one'),
      () => bookmarkArguments('tank@one', 'tank@two'),
      () => destroyBookmarkArguments('tank@one'),
      () => destroyBookmarkArguments('tank'),
      () => destroyBookmarkArguments('tank@one#two'),
      () => destroyBookmarkArguments('tank#one,two'),
      () => destroyBookmarkArguments('tank#one%two'),
    ];
    for (const make of hostile) expect(make, String(make)).toThrow();
  });
});

describe('versions', () => {
  test('as recorded: a bookmark after its snapshot, oldest first', () => {
    const { stdout } = recorded('list', 'snapshots and bookmarks');
    const versions = parseVersions(Buffer.from(stdout), 'src/fix');
    expect(versions.map(({ type, name }) => `${type} ${name}`)).toEqual([
      'snapshot base',
      'bookmark base',
      'snapshot next',
      'bookmark next',
      'snapshot last',
    ]);
    expect(versions[0]).toEqual({
      type: 'snapshot',
      name: 'base',
      guid: 9518794559622867999n,
      createTXG: 10n,
      creation: '2026-11-20T20:42:01Z',
    });
  });

  test('none', () => {
    expect(parseVersions(Buffer.from(recorded('list', 'no snapshot yet').stdout), 'src/fix')).toEqual([]);
  });

  test('names may have spaces; those of other datasets are left out; guids are exact', () => {
    const text = `a b@c d\t${2n ** 64n - 1n}\t${2n ** 63n}\t1\na b/c@x\t1\t1\t1\n`;
    const versions = parseVersions(Buffer.from(text), 'a b');
    expect(versions).toMatchObject([{ name: 'c d', guid: 2n ** 64n - 1n, createTXG: 2n ** 63n }]);
  });

  test.each(['tank@one', 'tank@one\t1\t1', 'tank\t1\t1\t1', 'tank@one\t-\t1\t1', 'tank@one\t1\tx\t1', '\t\t\t'])(
    '%j is not understood, and not passed over',
    (line) => {
      expect(() => parseVersions(Buffer.from(`${line}\n`), 'tank')).toThrow(/do not understand/);
    },
  );

  test('an unknown time is unknown', () => {
    expect(parseVersions(Buffer.from('t@a\t1\t1\t-\n'), 't')[0]?.creation).toBeNull();
  });

  test('with holds and encryption', () => {
    const text = 't@a\t1\t1\t1\t2\taes-256-gcm\nt#a\t1\t1\t1\t-\t-\nt@b\t2\t2\t1\t0\toff\n';
    expect(parseVersionDetails(Buffer.from(text))).toMatchObject([
      { dataset: 't', holds: 2, isEncrypted: true },
      { holds: 0, isEncrypted: false, version: { type: 'bookmark' } },
      { holds: 0, isEncrypted: false },
    ]);
  });
});

describe('datasets', () => {
  test('a placeholder says so itself: what it inherits or got with a stream does not count', () => {
    const text = ['a\t-\t-', 'b\ton\tlocal', 'b/c\ton\tinherited from b', 'd\ton\treceived', 'e\toff\tlocal'].join(
      '\n',
    );
    const found = parseDatasets(Buffer.from(text));
    expect(found.filter(({ isPlaceholder }) => isPlaceholder)).toEqual([{ name: 'b', isPlaceholder: true }]);
    expect(found).toHaveLength(5);
  });
});

describe('holds', () => {
  test('as recorded', () => {
    expect(parseHolds(Buffer.from(recorded('hold and release', 'holds').stdout))).toEqual([
      { snapshot: 'src/h@h3', tag: 'bars:job' },
      { snapshot: 'src/h@h3', tag: 'other' },
    ]);
  });

  test('a tag may have spaces and tabs', () => {
    expect(parseHolds(Buffer.from('t@a\ta b\tc\tFri Nov 20 20:42 2026\n'))).toEqual([
      { snapshot: 't@a', tag: 'a b\tc' },
    ]);
  });
});

describe('estimates', () => {
  test.each([
    ['full: dry run', 'src/fix@base', 23_152],
    ['incremental: dry run', 'src/fix@next', 7280],
    ['incremental-bookmark: dry run', 'src/fix@last', 12_400],
  ])('%s', (name, to, bytes) => {
    expect(parseEstimate(Buffer.from(recorded('send: fixture streams', name).stdout))).toEqual({ to, bytes });
  });

  test('one below nothing, printed without its sign, is unknown', () => {
    expect(
      parseEstimate(Buffer.from('full\tsrc/fix@base\t18446744073709545824\nsize\t18446744073709545824\n')),
    ).toEqual({
      to: 'src/fix@base',
      bytes: null,
    });
  });

  test('nothing said is unknown', () => {
    expect(parseEstimate(Buffer.from(''))).toEqual({ to: null, bytes: null });
  });

  test('of a token, after what the token has', () => {
    const text =
      'resume token contents:\nnvlist version: 0\n\tobject = 0x2\n\ttoname = src/big@one\nfull\tsrc/big@one\t7622944\nsize\t7622944\n';
    expect(parseEstimate(Buffer.from(text))).toEqual({ to: 'src/big@one', bytes: 7_622_944 });
  });
});

describe('failures', () => {
  test.each([
    ['list', 'dataset missing', 'dataset_not_found'],
    ['list', 'pool missing', 'dataset_not_found'],
    ['list', 'snapshot missing', 'version_not_found'],
    ['list', 'bookmark missing', 'version_not_found'],
    ['create', 'exists', 'dataset_exists'],
    ['create', 'parent missing', 'dataset_not_found'],
    ['bookmark', 'taken already', 'bookmark_exists'],
    ['bookmark', 'snapshot missing', 'version_not_found'],
    ['bookmark', 'destroy a missing one', 'version_not_found'],
    ['hold and release', 'hold again', 'tag_exists'],
    ['hold and release', 'hold a missing snapshot', 'version_not_found'],
    ['hold and release', 'destroy a held one', 'busy'],
    ['hold and release', 'release an unknown tag', 'tag_not_found'],
    ['hold and release', 'release on a missing snapshot', 'version_not_found'],
    ['send: errors', 'exit code of the missing snapshot', 'version_not_found'],
    ['send: errors', 'source bookmark missing', 'version_not_found'],
    ['send: errors', 'dry run, bookmark missing', 'version_not_found'],
    ['send: errors', 'source newer than target', 'not_earlier'],
    ['send: errors', 'a filesystem that is mounted', 'busy'],
    ['send: errors', 'no argument', 'unknown'],
    ['tokens that do not work', 'garbage', 'token_unusable'],
    ['without root', 'hold', 'permission'],
    ['without root', 'bookmark', 'permission'],
    ['encryption', '-p needs -w', 'encryption_mismatch'],
  ] as const)('%s, %s: %s', (section, name, cause) => {
    expect(zfsCause(recorded(section, name).stderr)).toBe(cause);
  });

  // Of recordings that took more than one command, and of ZFS 2.3.
  test.each([
    ["cannot destroy snapshot src/h@h3: it's being held. Run 'zfs holds -r src/h@h3' to see holders.", 'busy'],
    ["cannot resume send: 'src/tok@t1' used in the initial send no longer exists", 'token_unusable'],
    ["cannot resume send: 'src/tok@t1' is no longer the same snapshot used in the initial send", 'token_unusable'],
    ["warning: cannot send 'src/enc@e1': dataset key must be loaded", 'key_not_loaded'],
    ['cannot receive incremental stream: inherited key must be loaded', 'key_not_loaded'],
    ["warning: cannot send 'src/fix@base': permission denied", 'permission'],
    ['Permission denied the ZFS utilities must be run as root.', 'permission'],
    ['sudo: a password is required', 'permission'],
    [
      'cannot receive incremental stream: destination dst/busy contains partially-complete state from "zfs receive -s".',
      'partial_state',
    ],
    [
      'cannot receive incremental stream: destination dst/fix has been modified\nsince most recent snapshot',
      'destination_modified',
    ],
    ["cannot create snapshot 'tiny@x': out of space", 'out_of_space'],
  ])('%s', (stderr, cause) => {
    expect(zfsCause(stderr)).toBe(cause);
  });

  test('the first line decides, not what follows it', () => {
    expect(zfsCause("cannot open 'src/none': dataset does not exist\nusage: dataset is busy\n")).toBe(
      'dataset_not_found',
    );
  });

  test('what is recorded has a text that is passed on as a whole, and no failure is taken for a success', () => {
    const failures = recordings.filter(({ status, stderr }) => status !== 0 && stderr !== '');
    expect(failures.length).toBeGreaterThan(60);
    for (const { argv, status, stderr } of failures) {
      const error = zfsFailure({ argv: ['zfs', ...argv] }, status, stderr, { doing: 'trying' });
      expect(error.message).toContain(stderr.trim().slice(-300));
      expect(error.message).toMatch(/^trying: "zfs .*" exited with status \d+: /s);
      expect(error.connectionDead).toBe(false);
    }
  });

  test('an unknown one has the code its caller gives it', () => {
    expect(zfsFailure({ argv: ['zfs'] }, 1, 'something new', { doing: 'x', fallback: 'INTERNAL' }).code).toBe(
      'INTERNAL',
    );
    expect(zfsFailure({ argv: ['zfs'] }, 'SIGKILL', '', { doing: 'x' })).toMatchObject({
      code: 'SOURCE_FAILED',
      message: 'x: "zfs" was killed by signal SIGKILL',
    });
  });

  test('where it is known, the message says what to do', () => {
    const { stderr } = recorded('without root', 'hold');
    expect(zfsFailure({ argv: ['zfs'] }, 1, stderr, { doing: 'x' }).message).toMatch(/zfs allow.*sudo -n/);
  });
});
