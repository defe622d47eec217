import { describe, expect, it } from 'vitest';
import { ConfigurationError } from '../../src/config/configuration-error.ts';
import { loadRights, parseRights } from '../../src/config/stdinserver-configuration.ts';

const sample = `# who may do what
identities:
  web1:
    sources: [/srv/data, /srv/www]
    sink: /backup/web1
    snapshot: true
  reader:
    sources:
      - /srv/data
`;

const problem = (text: string, identity = 'web1'): string => {
  try {
    parseRights(text, 'c.yml', identity);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    return (error as Error).message;
  }
  throw new Error('it was accepted');
};

describe('parseRights', () => {
  it('reads the rights of an identity', () => {
    const directory = (pattern: string) => ({ backend: 'directory', pattern, isMeant: true });
    const others = {
      sudo: false,
      receive: { options: {}, exclude: [], takeProperties: false, placeholderEncryption: null },
    };
    expect(parseRights(sample, 'c.yml', 'web1')).toEqual({
      ...others,
      sources: [directory('srv/data<'), directory('srv/www<')],
      sink: { backend: 'directory', path: '/backup/web1' },
      snapshot: true,
    });
    expect(parseRights(sample, 'c.yml', 'reader')).toEqual({
      ...others,
      sources: [directory('srv/data<')],
      sink: null,
      snapshot: false,
    });
  });

  it('reads datasets, as a list with all below or as a map of patterns', () => {
    const { sources: list, sink } = parseRights(
      'identities: {w: {sources: [zfs:tank/home, "btrfs:/data/@home", "zfs:pool<", dir:/srv/], sink: zfs:backup}}',
      'c.yml',
      'w',
    );
    expect(list).toEqual([
      { backend: 'zfs', pattern: 'tank/home<', isMeant: true },
      { backend: 'btrfs', pattern: 'data/@home<', isMeant: true },
      { backend: 'zfs', pattern: 'pool<', isMeant: true },
      { backend: 'directory', pattern: 'srv<', isMeant: true },
    ]);
    expect(sink).toEqual({ backend: 'zfs', path: 'backup' });
    const map = parseRights(
      [
        'identities:',
        '  w:',
        '    sources:',
        '      "zfs:tank<": true',
        '      "zfs:tank/tmp<": false',
        '      "zfs:tank/tmp/keep": true',
        '      "btrfs:/data<": true',
        '    sudo: true',
        '    sink: btrfs:/backup',
        '    receive:',
        '      options: {compression: zstd, copies: 2}',
        '      exclude: [atime]',
        '      takeProperties: true',
        '      placeholderEncryption: inherit',
      ].join('\n'),
      'c.yml',
      'w',
    );
    expect(map).toEqual({
      sources: [
        { backend: 'zfs', pattern: 'tank<', isMeant: true },
        { backend: 'zfs', pattern: 'tank/tmp<', isMeant: false },
        { backend: 'zfs', pattern: 'tank/tmp/keep', isMeant: true },
        { backend: 'btrfs', pattern: 'data<', isMeant: true },
      ],
      sink: { backend: 'btrfs', path: '/backup' },
      snapshot: false,
      sudo: true,
      receive: {
        options: { compression: 'zstd', copies: '2' },
        exclude: ['atime'],
        takeProperties: true,
        placeholderEncryption: 'inherit',
      },
    });
  });

  it('points at a pattern that cannot be read', () => {
    const withSources = (sources: string) => problem(`identities:\n  w:\n    sources: ${sources}\n`, 'w');
    expect(withSources('{"zfs:tank<x": true}')).toBe(
      [
        'c.yml:3:29: identities.w.sources.zfs:tank<x: the pattern "tank<x" has a "<" that is not at its end',
        '  3 |     sources: {"zfs:tank<x": true}',
        '    |                             ^',
      ].join('\n'),
    );
    expect(withSources('[zfs:tank/../home]')).toMatch(/3:15: .*component "\.\."/);
    expect(withSources('["zfs:/tank"]')).toMatch(/must name a ZFS dataset/);
    expect(withSources('["zfs:"]')).toMatch(/must name a ZFS dataset/);
    expect(withSources('["btrfs:data"]')).toMatch(/absolute path/);
    expect(withSources('[/]')).toMatch(/must name a directory below/);
    expect(withSources('[[/srv]]')).toMatch(/expected a location/);
    expect(withSources('{"zfs:tank": 1}')).toMatch(/expected true or false/);
    expect(withSources('{"/srv<": true, "/srv/secret<": false}')).toMatch(
      /cannot be false: the snapshot of a directory/,
    );
    expect(problem('identities:\n  w:\n    sink: zfs:tank<\n', 'w')).toMatch(/3:11: .*not a pattern with "<"/);
    expect(problem('identities:\n  w:\n    sink: zfs:tank//x\n', 'w')).toMatch(/3:11: .*empty component/);
    expect(problem('identities:\n  w:\n    sink: zfs:b\n    receive: {exclude: [-r]}\n', 'w')).toMatch(
      /4:25: .*not the name of a property/,
    );
  });

  it('knows no identity that is not there', () => {
    expect(problem(sample, 'wbe1')).toBe('c.yml: there is no identity "wbe1"; did you mean "web1"?');
    expect(problem(sample, 'other')).toMatch(/no identity "other"; add it/);
    expect(problem(sample, 'toString')).toMatch(/no identity "toString"/);
    expect(problem(sample, '__proto__')).toMatch(/no identity "__proto__"/);
  });

  it('points at a misspelt key and names the right one', () => {
    expect(problem('identities:\n  web1:\n    source: [/srv/data]\n')).toBe(
      [
        'c.yml:3:5: unknown key "source"; did you mean "sources"?',
        '  3 |     source: [/srv/data]',
        '    |     ^',
        'c.yml:3:5: identities.web1: gives neither sources nor a sink',
        '  3 |     source: [/srv/data]',
        '    |     ^',
      ].join('\n'),
    );
    expect(problem('identity: {}\n')).toMatch(/^c.yml:1:1: unknown key "identity"; did you mean "identities"\?$/m);
    expect(problem('identities: {w: {sources: [/a], zzz: 1}}')).toMatch(
      /1:33: unknown key "zzz"; known here: sources, sink/,
    );
  });

  it('points at a wrong value', () => {
    expect(problem('identities:\n  web1:\n    sources: [/srv/data, www]\n')).toBe(
      [
        'c.yml:3:26: identities.web1.sources.1: must be an absolute path, e.g. /srv/data, or begin with zfs:',
        '  3 |     sources: [/srv/data, www]',
        '    |                          ^',
      ].join('\n'),
    );
    expect(problem('identities:\n  web1:\n    sources: /srv\n')).toMatch(/c.yml:3:14: .*expected a list of locations/);
    expect(problem('identities:\n  web1:\n    sink: /srv/../etc\n')).toMatch(/c.yml:3:11: .*must not have ".."/);
    expect(problem('identities:\n  web1:\n    sink: /s\n    snapshot: yes please\n')).toMatch(
      /c.yml:4:15: .*true or false/,
    );
    expect(problem('identities:\n  we b1:\n    sink: /s\n')).toMatch(/c.yml:2:3: .*letters, digits/);
    expect(problem('identities:\n  local:\n    sink: /s\n')).toMatch(/c.yml:2:3: .*no identity of a peer/);
    expect(problem('identities:\n  web1: {}\n')).toMatch(/c.yml:2:9: .*neither sources nor a sink/);
    expect(problem('')).toMatch(/c.yml:1:1: expected identities/);
    expect(problem('identities: 3')).toMatch(/c.yml:1:13: .*a name for each identity/);
  });

  it('points at what is no YAML', () => {
    expect(problem('identities:\n  web1: [')).toMatch(/^c.yml:2:\d+: /);
    expect(problem('a: 1\na: 2\n')).toMatch(/^c.yml:2:1: .*unique/);
  });
});

describe('loadRights', () => {
  it('says which file it wanted', () => {
    expect(() => loadRights('/nonexistent/c.yml', 'web1')).toThrow(
      /cannot read .*\/nonexistent\/c.yml.*ENOENT.*--config/,
    );
  });
});
