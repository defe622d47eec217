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
    expect(parseRights(sample, 'c.yml', 'web1')).toEqual({
      sources: ['/srv/data', '/srv/www'],
      sink: '/backup/web1',
      snapshot: true,
    });
    expect(parseRights(sample, 'c.yml', 'reader')).toEqual({ sources: ['/srv/data'], sink: null, snapshot: false });
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
        'c.yml:3:26: identities.web1.sources.1: must be an absolute path, e.g. /srv/data',
        '  3 |     sources: [/srv/data, www]',
        '    |                          ^',
      ].join('\n'),
    );
    expect(problem('identities:\n  web1:\n    sources: /srv\n')).toMatch(
      /c.yml:3:14: .*expected a list of directories/,
    );
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
