import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Place } from '../../src/cli/location.ts';
import { parseRemoteCommand, remoteArguments } from '../../src/cli/remote-command.ts';
import type { RemoteCommand } from '../../src/cli/remote-command.ts';
import { splitWords } from '../../src/cli/split-words.ts';
import { UsageError } from '../../src/cli/usage-error.ts';

/** As a careful person quotes for a shell. */
const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;

describe('splitWords', () => {
  it('undoes quoting, whatever the words', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }).filter((word) => !word.includes('\0'))), (words) => {
        expect(splitWords(words.map(quote).join(' '), 'line')).toEqual(words);
      }),
    );
  });

  it('takes bare words and mixtures', () => {
    expect(splitWords("snapferry serve --stdio -- '/a b'c\\'d ''", 'line')).toEqual([
      'snapferry',
      'serve',
      '--stdio',
      '--',
      "/a bc'd",
      '',
    ]);
    expect(splitWords('', 'line')).toEqual([]);
    expect(splitWords('  a   b  ', 'line')).toEqual(['a', 'b']);
    expect(splitWords('a~b', 'line')).toEqual(['a~b']);
  });

  it.each([
    'a;b',
    'a|b',
    'a&b',
    '$(a)',
    '`a`',
    '$a',
    'a>b',
    'a<b',
    '"a"',
    'a\\b',
    '*',
    '?',
    '[a]',
    '{a}',
    '#a',
    '!a',
    'a\nb',
    'a\tb',
    '(a)',
    "'a",
    '~/a',
    'ä',
  ])('refuses %j', (line) => {
    expect(() => splitWords(line, 'the command')).toThrow(UsageError);
    expect(() => splitWords(line, 'the command')).toThrow(/the command has .* at position \d/);
  });
});

const text = fc.string({ minLength: 1 });
const choices = fc.record({
  name: fc.option(text),
  prefix: fc.option(text),
  exclude: fc.array(fc.string()),
});
const place: fc.Arbitrary<Place> = fc.oneof(
  fc.record({
    backend: fc.constant('directory' as const),
    // What begins like a backend is written with ./ in front.
    path: text.filter((path) => !/^(dir|zfs|btrfs):/.test(path)),
  }),
  fc.record({ backend: fc.constant('zfs' as const), path: text.map((name) => `tank/${name}`) }),
  fc.record({ backend: fc.constant('btrfs' as const), path: text.map((name) => `/${name}`) }),
);
const base = { place, recursive: fc.boolean(), sudo: fc.boolean() };
const remoteCommand: fc.Arbitrary<RemoteCommand> = fc.oneof(
  fc.record({
    command: fc.constant('serve' as const),
    ...base,
    snapshot: fc.constantFrom('none' as const, 'take' as const, 'plan' as const),
    choices,
    send: fc.record({ raw: fc.boolean(), properties: fc.boolean() }),
    receive: fc.record({
      options: fc.array(text),
      exclude: fc.array(text),
      placeholderEncryption: fc.option(fc.constantFrom('inherit' as const, 'off' as const)),
      fromSnapshots: fc.option(text),
    }),
    sourceRoot: fc.option(text),
  }),
  fc.record({
    command: fc.constant('snapshot' as const),
    ...base,
    choices,
    dryRun: fc.boolean(),
    force: fc.boolean(),
    json: fc.boolean(),
  }),
  fc.record({
    command: fc.constantFrom('list' as const, 'verify' as const, 'holds' as const),
    ...base,
    json: fc.boolean(),
  }),
  fc.record({
    command: fc.constant('release' as const),
    ...base,
    json: fc.boolean(),
    dryRun: fc.boolean(),
    job: fc.option(text),
  }),
);

describe('parseRemoteCommand', () => {
  it('reads back what remoteArguments writes', () => {
    fc.assert(
      fc.property(remoteCommand, (command) => {
        expect(parseRemoteCommand(['snapferry', ...remoteArguments(command)])).toEqual(command);
        expect(parseRemoteCommand(['node', '/opt/main.js', ...remoteArguments(command)])).toEqual(command);
      }),
    );
  });

  it('ends the options before the location', () => {
    const help = { backend: 'directory', path: '--help' } as const;
    const command = { command: 'list', json: true, place: help, recursive: false, sudo: false } as const;
    expect(remoteArguments(command)).toEqual(['list', '--json', '--', '--help']);
  });

  it.each([
    [['sh', '-c', 'id'], /none of snapferry's commands/],
    [['serve', '--stdio', '--', '/x'], /none of snapferry's commands/],
    [[], /none of snapferry's commands/],
    [['snapferry', 'restore', '--', '/x'], /none of snapferry's commands/],
    [['snapferry', 'toString'], /none of snapferry's commands/],
    [['snapferry', 'serve', '--', '/x'], /needs --stdio/],
    [['snapferry', 'serve', '--stdio'], /one location here, not 0/],
    [['snapferry', 'serve', '--stdio', '--', '/x', '/y'], /one location here, not 2/],
    [['snapferry', 'serve', '--stdio', '--', ''], /one location/],
    [['snapferry', 'serve', '--stdio', '--identity=root', '--', '/x'], /Unknown option '--identity'/],
    [['snapferry', 'serve', '--stdio=yes', '--', '/x'], /stdio/],
    [['snapferry', 'serve', '--stdio', '--snapshot', '--snapshot-dry-run', '--', '/x'], /exclude each other/],
    [['snapferry', 'verify', '--to', '/etc', '--', '/x'], /Unknown option '--to'/],
    [['snapferry', 'release', '--', '/x'], /needs --job or --all-jobs/],
    [['snapferry', 'release', '--job=a', '--all-jobs', '--', '/x'], /needs --job or --all-jobs/],
    [['snapferry', 'list', '--', 'zfs:-r'], /begin with a letter/],
    [['snapferry', 'list', '--', 'btrfs:data'], /absolute path/],
    [['snapferry', 'serve', '--stdio', '--placeholder-encryption=on', '--', 'zfs:tank'], /is inherit or off/],
  ])('refuses %j', (words, why) => {
    expect(() => parseRemoteCommand(words)).toThrow(UsageError);
    expect(() => parseRemoteCommand(words)).toThrow(why);
  });
});
