import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { connectSSH, quoteForShell, sshArguments } from '../../src/transport/ssh.ts';

const base = [
  ['-o', 'BatchMode=yes'],
  ['-o', 'ConnectTimeout=15'],
  ['-o', 'ServerAliveInterval=10'],
  ['-o', 'ServerAliveCountMax=3'],
  ['-o', 'ClearAllForwardings=yes'],
  ['-o', 'ForwardAgent=no'],
  ['-o', 'ForwardX11=no'],
  ['-o', 'PermitLocalCommand=no'],
].flat();

describe('sshArguments', () => {
  test('the least: a host and a command', () => {
    expect(sshArguments({ host: 'web1', command: ['snapferry', 'serve', '--stdio', '/srv/my data'] })).toEqual([
      '-T',
      ...base,
      '--',
      'web1',
      `snapferry serve --stdio '/srv/my data'`,
    ]);
  });

  test('everything; options given come before our own, so that they win', () => {
    const args = sshArguments({
      host: '[fe80::1%eth0]',
      user: 'backup',
      port: 2222,
      identityFile: '/keys/id',
      configFile: 'none',
      options: { ServerAliveInterval: '60' },
      command: [],
    });
    expect(args).toEqual([
      ...['-T', '-F', 'none', '-o', 'ServerAliveInterval=60'],
      ...base,
      ...['-p', '2222', '-i', '/keys/id', '-l', 'backup', '--', 'fe80::1%eth0'],
    ]);
  });

  test('options as a list', () => {
    const args = sshArguments({
      host: 'h',
      options: ['Ciphers=aes128-gcm@openssh.com', 'Compression no'],
      command: [],
    });
    expect(args.slice(1, 5)).toEqual(['-o', 'Ciphers=aes128-gcm@openssh.com', '-o', 'Compression no']);
  });

  test.each(['::1', '[::1]', '192.0.2.7', 'web-1.example.org', 'bücher.example', 'my_alias'])('host %s', (host) => {
    expect(sshArguments({ host, command: [] }).at(-1)).toBe(host.replace(/[[\]]/g, ''));
  });

  test.each([
    '',
    '-oProxyCommand=touch /tmp/x',
    '--',
    'a b',
    'a;b',
    '$(x)',
    '`x`',
    'a\nb',
    '[web1]',
    'user@host',
    'a/b',
  ])('host %j is refused', (host) => {
    expect(() => sshArguments({ host, command: [] })).toThrow(SnapferryError);
  });

  test.each(['', '-x', 'a b', 'a;b', '$(x)', "a'b", 'a\tb', 'a\\b'])('user %j is refused', (user) => {
    expect(() => sshArguments({ host: 'h', user, command: [] })).toThrow(/cannot be used as user/);
  });

  test.each([0, -1, 65536, 1.5, Number.NaN])('port %j is refused', (port) => {
    expect(() => sshArguments({ host: 'h', port, command: [] })).toThrow(/cannot be used as port/);
  });

  test.each(['-v', 'NoValue', 'Name=', 'A=b\nProxyCommand=c', '=x'])('option %j is refused', (option) => {
    expect(() => sshArguments({ host: 'h', options: [option], command: [] })).toThrow(/cannot be used as ssh option/);
  });

  test('a destination that is refused rejects, it does not throw', async () => {
    await expect(connectSSH({ host: '-x', command: [] })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });
});

describe('quoteForShell', () => {
  const readBack = (words: readonly string[]): string[] => {
    const script = `printf '%s\\0' ${words.map(quoteForShell).join(' ')}`;
    return execFileSync('/bin/sh', ['-c', script], { encoding: 'utf8' }).split('\0').slice(0, -1);
  };

  test('a shell gives nasty words back unchanged', () => {
    const words = [
      '',
      ' ',
      "'",
      "''",
      '"',
      '\\',
      '$HOME',
      '`id`',
      '$(id)',
      '~',
      '~root',
      '*',
      '?',
      '[a]',
      '!!',
      '#',
      'a=b',
    ];
    words.push(
      ';',
      '&',
      '|',
      '<',
      '>',
      '(',
      ')',
      '{a,b}',
      '-n',
      '--',
      'a\nb',
      '\n',
      '\t',
      'ü',
      '日本',
      "it's",
      '\u001b[0m',
    );
    expect(readBack(words)).toEqual(words);
  });

  test('a shell gives any words back unchanged', () => {
    const word = fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 50 }), (words) => {
        expect(readBack(words)).toEqual(words);
      }),
      { numRuns: 50 },
    );
  });

  test('plain words stay readable', () => {
    expect(['snapferry', '/srv/data', 'user@host:x', '--flag'].map(quoteForShell)).toEqual([
      'snapferry',
      '/srv/data',
      'user@host:x',
      '--flag',
    ]);
  });

  test('a zero byte is refused', () => {
    expect(() => quoteForShell('a\0b')).toThrow(SnapferryError);
  });
});

test('without an OpenSSH client, the error says what to install', async () => {
  const attempt = connectSSH({ host: 'web1', command: ['true'], sshProgram: '/nonexistent/ssh' });
  await expect(attempt).rejects.toMatchObject({ code: 'CONNECT_FAILED', retryable: false });
  await expect(attempt).rejects.toThrow('install the OpenSSH client');
});
