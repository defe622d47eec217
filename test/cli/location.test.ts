import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatLocation, formatPlace, parseLocation, parsePlace, splitSnapshot } from '../../src/cli/location.ts';
import { UsageError } from '../../src/cli/usage-error.ts';

const remote = (host: string, path: string, more: { user?: string; port?: number; backend?: string } = {}) => ({
  kind: 'remote',
  backend: more.backend ?? 'directory',
  user: more.user ?? null,
  host,
  port: more.port ?? null,
  path,
});

describe('parseLocation', () => {
  it.each([
    ['/srv/data', '/srv/data'],
    ['./data', './data'],
    ['data', 'data'],
    ['../data', '../data'],
    ['dir:/srv/data', '/srv/data'],
    ['dir:data', 'data'],
    ['./a:b', './a:b'],
    ['/srv/a:b', '/srv/a:b'],
    ['a/b:c', 'a/b:c'],
    ['-x', '-x'],
    ['user@host', 'user@host'],
  ])('takes %s for a local path', (text, path) => {
    expect(parseLocation(text)).toEqual({ kind: 'local', backend: 'directory', path });
  });

  it.each([
    ['zfs:tank', 'zfs', 'tank'],
    ['zfs:tank/home', 'zfs', 'tank/home'],
    ['zfs:tank/home@daily', 'zfs', 'tank/home@daily'],
    ['btrfs:/data/@home', 'btrfs', '/data/@home'],
  ])('takes %s for a dataset on this machine', (text, backend, path) => {
    expect(parseLocation(text)).toEqual({ kind: 'local', backend, path });
  });

  it.each([
    ['web1:zfs:tank/home', remote('web1', 'tank/home', { backend: 'zfs' })],
    ['ann@web1:zfs:tank', remote('web1', 'tank', { backend: 'zfs', user: 'ann' })],
    ['[::1]:zfs:tank', remote('::1', 'tank', { backend: 'zfs' })],
    ['ssh://ann@web1:2222/zfs:tank/home', remote('web1', 'tank/home', { backend: 'zfs', user: 'ann', port: 2222 })],
    ['web1:btrfs:/data/@home', remote('web1', '/data/@home', { backend: 'btrfs' })],
    ['ssh://web1/btrfs:/data/@home', remote('web1', '/data/@home', { backend: 'btrfs' })],
    ['web1:./zfs:tank', remote('web1', './zfs:tank')],
  ])('takes %s for a dataset on another machine', (text, location) => {
    expect(parseLocation(text)).toEqual(location);
    expect(parseLocation(formatLocation(parseLocation(text)))).toEqual(location);
  });

  it.each([
    ['host:/srv/data', remote('host', '/srv/data')],
    ['host:rel/path', remote('host', './rel/path')],
    ['host:', remote('host', '.')],
    ['host:~', remote('host', '.')],
    ['host:~/x', remote('host', './x')],
    ['host:-rf', remote('host', './-rf')],
    ['host:../x', remote('host', '../x')],
    ['host:b:/c', remote('host', './b:/c')],
    ['host:dir:/srv/data', remote('host', '/srv/data')],
    ['web1.example.org:/x', remote('web1.example.org', '/x')],
    ['user@host:/x', remote('host', '/x', { user: 'user' })],
    ['a.b@c@host:/x', remote('host', '/x', { user: 'a.b@c' })],
    ['[::1]:/x', remote('::1', '/x')],
    ['user@[fe80::1%eth0]:/x', remote('fe80::1%eth0', '/x', { user: 'user' })],
    ['ssh://user@host:2222/path', remote('host', '/path', { user: 'user', port: 2222 })],
    ['ssh://host/path', remote('host', '/path')],
    ['ssh://[::1]:22/a%20b', remote('::1', '/a b', { port: 22 })],
    ['ssh://host/~/x', remote('host', './x')],
    ['host:/with\nnewline', remote('host', '/with\nnewline')],
  ])('takes %s for a remote path', (text, location) => {
    expect(parseLocation(text)).toEqual(location);
  });

  it.each([
    ['', /empty/],
    ['zfs:', /names no dataset/],
    ['btrfs:', /names no dataset/],
    ['zfs:/tank/home', /is a path, not the name of a ZFS dataset/],
    ['zfs:-r', /begin with a letter/],
    ['host:zfs:', /names no dataset/],
    ['host:zfs:-r', /begin with a letter/],
    ['btrfs:home', /absolute path/],
    ['host:btrfs:home', /absolute path/],
    ['dir:', /names no directory/],
    ['host:dir:', /names no directory/],
    [':/x', /not a host name/],
    ['-oProxyCommand=x:/x', /not a host name/],
    ['user@-host:/x', /not a host name/],
    ['-user@host:/x', /not the name of a user/],
    ['@host:/x', /not the name of a user/],
    ['[x]:/x', /not an address/],
    ['[-1]:/x', /not an address/],
    ['ho st:/x', /not a host name/],
    ['host:~other/x', /home of another user/],
    ['ssh://host', /names no directory/],
    ['ssh://host:0/x', /port "0"/],
    ['ssh://host:70000/x', /port "70000"/],
    ['ssh://host:x/x', /port "x"/],
    ['ssh://-h/x', /not a host name/],
    ['ssh://h/%zz', /hexadecimal/],
    ['ssh://h/%00', /NUL/],
    ['/a\0b', /NUL/],
  ])('refuses %j', (text, why) => {
    expect(() => parseLocation(text)).toThrow(UsageError);
    expect(() => parseLocation(text)).toThrow(why);
  });

  it('reads back what formatLocation writes, and no part of a remote one can be an option', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        let location;
        try {
          location = parseLocation(text);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
          return;
        }
        expect(parsePlace(formatPlace(location))).toEqual({ backend: location.backend, path: location.path });
        if (location.kind === 'local') return;
        expect(parseLocation(formatLocation(location))).toEqual(location);
        for (const part of [location.host, location.path, location.user ?? '']) expect(part).not.toMatch(/^-/);
      }),
      { numRuns: 2000 },
    );
    for (const text of ['u@h:/x y', 'ssh://u@h:2222/x%20y', 'ssh://h:1/~/x', 'ssh://[::1]:22/x']) {
      expect(parseLocation(formatLocation(parseLocation(text)))).toEqual(parseLocation(text));
    }
  });
});

describe('splitSnapshot', () => {
  const split = (text: string, ...existing: string[]) => {
    const { location, snapshot } = splitSnapshot(parseLocation(text), (path) => existing.includes(path));
    return [location.path, snapshot];
  };

  it('splits at the last @ behind the last slash', () => {
    expect(split('/srv/data@daily')).toEqual(['/srv/data', 'daily']);
    expect(split('/srv/a@b@daily')).toEqual(['/srv/a@b', 'daily']);
    expect(split('/srv/a@b/c')).toEqual(['/srv/a@b/c', null]);
    expect(split('/srv/data')).toEqual(['/srv/data', null]);
    expect(split('user@host:/srv/data@daily')).toEqual(['/srv/data', 'daily']);
    expect(split('user@host:/srv/data')).toEqual(['/srv/data', null]);
    expect(split('host:/srv/a@b/')).toEqual(['/srv/a@b/', null]);
    expect(split('zfs:tank/home@daily')).toEqual(['tank/home', 'daily']);
    expect(split('host:zfs:tank@daily')).toEqual(['tank', 'daily']);
  });

  it('leaves the @ in front of a btrfs subvolume’s name alone', () => {
    expect(split('btrfs:/data/@home')).toEqual(['/data/@home', null]);
    expect(split('host:btrfs:/data/@home@daily')).toEqual(['/data/@home', 'daily']);
    expect(split('btrfs:/data/home@daily')).toEqual(['/data/home', 'daily']);
  });

  it('lets an existing local path win', () => {
    expect(split('/srv/a@b', '/srv/a@b')).toEqual(['/srv/a@b', null]);
    expect(split('host:/srv/a@b', '/srv/a@b')).toEqual(['/srv/a', 'b']);
  });

  it('refuses what cannot be a snapshot', () => {
    expect(() => split('/srv/a@')).toThrow(UsageError);
    expect(() => split('/srv/a@-x')).toThrow(/begins with "-"/);
    expect(() => split('@daily')).toThrow(/no directory/);
  });
});
