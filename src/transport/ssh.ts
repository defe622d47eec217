import { isIPv6 } from 'node:net';
import { SnapferryError } from '../errors.ts';
import type { ByteStream } from './byte-stream.ts';
import { connectCommand } from './command.ts';

/** Where to go by ssh, and as whom. */
export interface SSHDestination {
  /** A host name, an alias of ssh's configuration, or an address; IPv6 with or without brackets. */
  readonly host: string;
  /** The user there. Default: what ssh's configuration says, else this user's name. */
  readonly user?: string;
  /** The port there. Default: what ssh's configuration says, else 22. */
  readonly port?: number;
  /** A private key to offer, and no others beside those of the configuration. */
  readonly identityFile?: string;
  /** A configuration file to use instead of the user's and the system's, or `none`. */
  readonly configFile?: string;
  /** Further options of ssh_config(5), as `{ Ciphers: '…' }` or `['Ciphers=…']`. They win over this library's own. */
  readonly options?: Readonly<Record<string, string>> | readonly string[];
  /** The program and arguments to run there. Empty: whatever the server runs for this key (a forced command). */
  readonly command: readonly string[];
}

/** How to reach the destination. */
export interface ConnectSSHOptions extends SSHDestination {
  /** The OpenSSH client. Default `ssh`, found on PATH. */
  readonly sshProgram?: string;
  /** Variables added to ssh's clean environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** How long a close waits for ssh to end, in milliseconds. Default 5000. */
  readonly graceMs?: number;
  /** How long ssh's exit status is waited for after the end of the output, in milliseconds. Default 2000. */
  readonly exitWaitMs?: number;
  /** Aborts the connection when it fires. */
  readonly signal?: AbortSignal;
  /** Called with each line that ssh, the server's banner or the remote program writes to standard error. */
  readonly onStderrLine?: (line: string) => void;
}

/**
 * Runs a program on another machine by the system's `ssh`, and resolves with its standard input and output as a byte
 * stream once ssh has been started; that it cannot log in shows as an error of the first read. It never asks for a
 * password or a host key. That the remote program has ended its output is seen when it has closed its standard error
 * too, or exited: ssh has one end for both.
 * @throws SnapferryError `INVALID_REQUEST` for a destination ssh could misread, `CONNECT_FAILED`, `CANCELLED`
 */
export function connectSSH(options: ConnectSSHOptions): Promise<ByteStream> {
  const { sshProgram = 'ssh', graceMs, exitWaitMs, env, signal, onStderrLine } = options;
  return Promise.resolve().then(() => {
    const args = sshArguments(options);
    return connectCommand({
      argv: [sshProgram, ...args],
      description: `ssh ${options.user === undefined ? '' : `${options.user}@`}${options.host}`,
      missingHint: 'install the OpenSSH client (Debian: apt install openssh-client)',
      explainExit: ({ code, stderr }) => explainSSHExit(code, stderr, options),
      ...(graceMs !== undefined && { graceMs }),
      ...(exitWaitMs !== undefined && { exitWaitMs }),
      ...(env !== undefined && { env }),
      ...(signal !== undefined && { signal }),
      ...(onStderrLine !== undefined && { onStderrLine }),
    });
  });
}

/** Set unless the caller sets them: ssh takes the first value it is given. */
const ownOptions = [
  'BatchMode=yes',
  'ConnectTimeout=15',
  'ServerAliveInterval=10',
  'ServerAliveCountMax=3',
  'ClearAllForwardings=yes',
  'ForwardAgent=no',
  'ForwardX11=no',
  'PermitLocalCommand=no',
] as const;

/**
 * The arguments for ssh. Nothing of the destination can be taken for an option, and the command's words arrive as they
 * are if the user's shell there is a POSIX shell.
 * @throws SnapferryError `INVALID_REQUEST`
 */
export function sshArguments(destination: SSHDestination): string[] {
  const { user, port, identityFile, configFile, command } = destination;
  const args = ['-T'];
  if (configFile !== undefined) args.push('-F', file(configFile, 'configuration file'));
  for (const option of [...givenOptions(destination.options), ...ownOptions]) args.push('-o', option);
  if (port !== undefined) args.push('-p', String(validPort(port)));
  if (identityFile !== undefined) args.push('-i', file(identityFile, 'identity file'));
  if (user !== undefined) args.push('-l', validUser(user));
  args.push('--', validHost(destination.host));
  if (command.length > 0) args.push(command.map(quoteForShell).join(' '));
  return args;
}

/**
 * A word as a POSIX shell has to read it to get it back unchanged.
 * @throws SnapferryError `INVALID_REQUEST` for a word with a zero byte, which no program can be given
 */
export function quoteForShell(word: string): string {
  if (word.includes('\0')) throw invalid('a word of the remote command', word, 'it has a zero byte');
  return /^[\w/.:@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function givenOptions(options: SSHDestination['options'] = []): string[] {
  const list = Array.isArray(options) ? [...(options as readonly string[])] : undefined;
  const given = list ?? Object.entries(options).map(([name, value]) => `${name}=${value}`);
  for (const option of given) {
    if (!/^[A-Za-z][A-Za-z0-9]*[= ][^\p{Cc}]+$/u.test(option)) {
      throw invalid('ssh option', option, 'it must read Name=value');
    }
  }
  return given;
}

function validHost(host: string): string {
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
  if (isIPv6(bare)) return bare;
  // What ssh hands to a ProxyCommand's shell as %h must not mean anything to that shell.
  if (bare !== host || !/^[\p{L}\p{N}_][\p{L}\p{N}._-]*$/u.test(host)) {
    throw invalid('host', host, 'a host has letters, digits, dots, - and _, and does not begin with -');
  }
  return host;
}

function validUser(user: string): string {
  if (!/^[^\s\p{Cc}'"`$\\;&<>|(){}-][^\s\p{Cc}'"`$\\;&<>|(){}]*$/u.test(user)) {
    throw invalid(
      'user',
      user,
      'it must not begin with -, nor have blanks or characters that mean something to a shell',
    );
  }
  return user;
}

function validPort(port: number): number {
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw invalid('port', String(port), 'it must be 1 to 65535');
  return port;
}

function file(path: string, what: string): string {
  if (path === '' || path.includes('\0')) throw invalid(what, path, 'it must be the path of a file');
  return path;
}

function invalid(what: string, value: string, why: string): SnapferryError {
  return new SnapferryError('INVALID_REQUEST', `${JSON.stringify(value)} cannot be used as ${what} for ssh: ${why}`);
}

function explainSSHExit(code: number | null, stderr: string, destination: SSHDestination): string | undefined {
  const { host, command } = destination;
  if (code === 127)
    return `${command[0] ?? 'the command'} was not found on ${host}; is it installed, and on the PATH ssh gives?`;
  if (code !== 255) return undefined;
  if (stderr.includes('Host key verification failed')) {
    return `the host key of ${host} is not known, or has changed; check it by logging in once by hand`;
  }
  if (stderr.includes('Permission denied')) {
    return `${host} accepts none of the keys offered; is the public key in authorized_keys there, and the private key readable here?`;
  }
  return 'ssh could not connect, or lost the connection';
}
