import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { findProgram, missingPrograms } from './platform.ts';

const run = promisify(execFile);

/** What {@link startSshd} lacks on this machine, for `describePlatform`. */
export const sshdMissing =
  missingPrograms(['sshd', 'ssh-keygen'], 'openssh-server') ?? missingPrograms(['ssh'], 'openssh-client');

/** What may be chosen about an sshd. */
export interface SshdOptions {
  /** The command its key is bound to in authorized_keys, whatever the client asks for. A shell of the user runs it. */
  readonly forcedCommand?: string;
  /** The text sshd sends before the login. */
  readonly banner?: string;
}

/** A running sshd, and what a client needs to log in as this user. */
export interface Sshd {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly identityFile: string;
  /** Keeps the configuration of whoever runs the tests out of it. */
  readonly configFile: 'none';
  readonly options: Record<string, string>;
  /** Of the directory that holds its files. */
  readonly directory: string;
  /** Makes a key pair that the server does not know, and returns the private key's path. */
  makeStrangerKey(): Promise<string>;
  /** Stops it and removes its files. */
  stop(): Promise<void>;
}

/** Starts a real sshd on a loopback port, with its own host key, its own client key and no other way to log in. */
export async function startSshd(options: SshdOptions = {}): Promise<Sshd> {
  const directory = await mkdtemp(join(tmpdir(), 'snapferry-sshd-'));
  try {
    return await startIn(directory, options);
  } catch (error) {
    await rm(directory, { recursive: true });
    throw error;
  }
}

async function startIn(directory: string, options: SshdOptions): Promise<Sshd> {
  const [hostKey, clientKey] = [join(directory, 'host_key'), join(directory, 'client_key')];
  await Promise.all([makeKey(hostKey), makeKey(clientKey)]);
  const forced = options.forcedCommand;
  const restriction = forced === undefined ? '' : `restrict,command="${forced.replaceAll('"', '\\"')}" `;
  await writeFile(join(directory, 'authorized_keys'), restriction + (await readFile(`${clientKey}.pub`, 'utf8')));
  if (options.banner !== undefined) await writeFile(join(directory, 'banner'), options.banner);

  // Root's sshd drops privileges in this directory, which only the service's own start script makes.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const { port, child } = await startOnFreePort(directory, options);

  const known = join(directory, 'known_hosts');
  await writeFile(known, `[127.0.0.1]:${port} ${await readFile(`${hostKey}.pub`, 'utf8')}`);
  return {
    host: '127.0.0.1',
    port,
    user: userInfo().username,
    identityFile: clientKey,
    configFile: 'none',
    options: {
      UserKnownHostsFile: known,
      GlobalKnownHostsFile: '/dev/null',
      StrictHostKeyChecking: 'yes',
      IdentitiesOnly: 'yes',
      IdentityAgent: 'none',
    },
    directory,
    makeStrangerKey: async () => {
      const path = join(directory, 'stranger_key');
      await makeKey(path);
      return path;
    },
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      await rm(directory, { recursive: true });
    },
  };
}

async function makeKey(path: string): Promise<void> {
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'snapferry-test', '-f', path]);
}

async function startOnFreePort(directory: string, options: SshdOptions) {
  const complaints: string[] = [];
  // Somebody else may take the port between our looking and sshd's binding.
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const port = await freePort();
    const config = join(directory, 'sshd_config');
    await writeFile(config, sshdConfig(directory, port, options));
    const child = spawn(findProgram('sshd') ?? 'sshd', ['-D', '-e', '-f', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    for await (const line of createInterface({ input: child.stderr })) {
      complaints.push(line);
      if (line.startsWith('Server listening')) {
        child.stderr.resume();
        return { port, child };
      }
    }
  }
  throw new Error(`sshd does not start: ${complaints.join(' / ')}`);
}

function sshdConfig(directory: string, port: number, options: SshdOptions): string {
  const lines = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${join(directory, 'host_key')}`,
    `AuthorizedKeysFile ${join(directory, 'authorized_keys')}`,
    'StrictModes no',
    'UsePAM no',
    'PubkeyAuthentication yes',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin prohibit-password',
    'PidFile none',
    'PrintMotd no',
    'MaxStartups 100',
  ];
  if (options.banner !== undefined) lines.push(`Banner ${join(directory, 'banner')}`);
  return `${lines.join('\n')}\n`;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
