import { describe, expect, test } from 'vitest';
import {
  causeOf,
  isCutInput,
  parseDiskUsage,
  parseList,
  parseShow,
  parseTimes,
} from '../../../src/handlers/btrfs/output.ts';
import { btrfsRecording, btrfsRecordings, recordedUUIDs } from '../../support/btrfs-recordings.ts';

describe('subvolume list', () => {
  test('has one subvolume a line', () => {
    const listed = parseList(btrfsRecording('the listing that belongs to the streams').stdout);
    expect(listed.map(({ topPath }) => topPath)).toEqual([
      'data',
      'snap/1',
      'snap/2',
      'snap/3',
      'snap/writable',
      'with space',
      'folder/data',
      'snap/writable/data',
    ]);
    expect(listed[1]).toEqual({
      id: 257,
      generation: 7n,
      createdGeneration: 7n,
      parentUUID: recordedUUIDs.live,
      receivedUUID: null,
      uuid: recordedUUIDs.one,
      topPath: 'snap/1',
    });
  });

  test('tells a copy by its received UUID', () => {
    const text =
      'ID 9 gen 11 cgen 9 parent 5 top level 5 parent_uuid - received_uuid ' +
      `${recordedUUIDs.one} uuid ${recordedUUIDs.two} path in/1\n`;
    expect(parseList(text)[0]).toMatchObject({ parentUUID: null, receivedUUID: recordedUUIDs.one });
  });

  test.each([
    '',
    '\n',
    'ID x',
    'ID 1 gen 2',
    'ERROR: no',
    'ID 1 gen 1 cgen 1 parent 5 top level 5 parent_uuid - received_uuid - uuid nonsense path a',
  ])('leaves out %j', (text) => {
    expect(parseList(text)).toEqual([]);
  });

  test('has paths from the top of the file system, whichever subvolume was named', () => {
    const line = (path: string): string =>
      `ID 9 gen 11 cgen 9 parent 5 top level 5 parent_uuid - received_uuid - uuid ${recordedUUIDs.two} path ${path}\n`;
    const listed = parseList(line('<FS_TREE>/d/@home/nested') + line('d/@home/<FS_TREE>/x'));
    expect(listed.map(({ topPath }) => topPath)).toEqual(['d/@home/nested', 'd/@home/<FS_TREE>/x']);
  });

  test('has times in UTC', () => {
    const times = parseTimes(
      `ID 258 gen 8 cgen 8 top level 5 otime 2026-11-21 05:26:54 uuid ${recordedUUIDs.two} path src@2\nID 1 nonsense\n`,
    );
    expect([...times]).toEqual([[recordedUUIDs.two, '2026-11-21T05:26:54Z']]);
  });
});

describe('subvolume show', () => {
  test('of a snapshot', () => {
    expect(parseShow(btrfsRecording('show a read-only snapshot').stdout)).toEqual({
      uuid: recordedUUIDs.one,
      parentUUID: recordedUUIDs.live,
      receivedUUID: null,
      creation: '2026-11-20T21:20:31Z',
      generation: 7n,
      createdGeneration: 7n,
      isReadOnly: true,
    });
  });

  test('of the live one, a copy, a partial one, the top', () => {
    const live = parseShow(btrfsRecording('show the live one').stdout);
    expect(live).toMatchObject({ uuid: recordedUUIDs.live, parentUUID: null, isReadOnly: false });
    expect(live!.generation > live!.createdGeneration).toBe(true);
    expect(parseShow(btrfsRecording('show').stdout)).toMatchObject({
      receivedUUID: recordedUUIDs.one,
      isReadOnly: true,
    });
    expect(parseShow(btrfsRecording('show the partial one').stdout)).toMatchObject({
      receivedUUID: null,
      isReadOnly: false,
    });
    expect(parseShow(btrfsRecording('show the top').stdout)).toMatchObject({ isReadOnly: false });
  });

  test('other zones, and text that is none', () => {
    const text = btrfsRecording('show a read-only snapshot').stdout.replace('+0000', '-0330');
    expect(parseShow(text)!.creation).toBe('2026-11-20T21:20:31-03:30');
    expect(parseShow('')).toBeNull();
    expect(parseShow('\tUUID: \t\t\tnonsense\n')).toBeNull();
  });
});

test('filesystem du', () => {
  expect(parseDiskUsage(btrfsRecording('size estimate').stdout.split('\n').slice(2).join('\n'))).toBe(12288);
  expect(parseDiskUsage('     Total   Exclusive  Set shared  Filename\n')).toBeNull();
  expect(parseDiskUsage(`  ${2n ** 64n}  0  0  /a\n`)).toBeNull();
});

describe('what went wrong', () => {
  const codes: Record<string, string | null> = {
    'while it is being sent: delete, make writable': 'BUSY',
    'parent missing at the receiver': 'VERSION_NOT_FOUND',
    'out of space': 'INTERNAL',
    'show on another file system': 'INVALID_REQUEST',
    'show a plain folder': 'INVALID_REQUEST',
    'list on another file system': 'INVALID_REQUEST',
    'destination is no btrfs': 'INVALID_REQUEST',
    corrupt: null,
    exists: null,
    garbage: null,
  };
  test.each(Object.entries(codes))('%s', (name, code) => {
    expect(causeOf(btrfsRecording(name).stderr)?.code ?? null).toBe(code);
  });

  test.each(['list', 'show', 'send', 'receive', 'snapshot of a foreign one'])('%s without root', (name) => {
    const found = btrfsRecordings.find((one) => one.section === 'without root' && one.name === name)!;
    expect(causeOf(found.stderr)?.code).toBe('ACCESS_DENIED');
  });

  test('only an input that ended tells how far a receive has got', () => {
    const cut = btrfsRecordings.filter(({ section, stderr }) => section.startsWith('receive') && isCutInput(stderr));
    expect(cut.map(({ name }) => name)).toEqual([
      'cut in the header',
      'only the header',
      'cut in the middle',
      'incremental, cut in the middle',
      'only the end command missing',
    ]);
    for (const name of ['corrupt', 'out of space', 'garbage', 'empty', 'exists', 'bytes after the end']) {
      expect(isCutInput(btrfsRecording(name).stderr), name).toBe(false);
    }
  });
});
