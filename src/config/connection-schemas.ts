import { z } from 'zod';
import type { ConnectSettings, ServeSettings } from './connection-settings.ts';
import {
  absolutePath,
  argv,
  duration,
  expecting,
  identity,
  listenAddress,
  listOf,
  networkAddress,
  systemdSocket,
  text,
  wholeNumber,
} from './scalar-schemas.ts';

const dialTimeout = duration.prefault('10s').describe('How long a connection may take to come about.');

const tlsFiles = {
  ca: absolutePath.describe('File with the certificate authority of the other side, PEM.'),
  cert: absolutePath.describe('File with the certificate of this side and what links it to its authority, PEM.'),
  key: absolutePath.describe('File with the private key of this side, PEM.'),
};

const sshHost = text('a host').regex(/^[A-Za-z0-9_[][A-Za-z0-9_.:%[\]-]*$/, 'is no host ssh could be given');
const sshUser = text('a user').regex(/^[A-Za-z0-9_][A-Za-z0-9_.+@\\-]*$/, 'is no user ssh could be given');
const sshOption = text('an option of ssh').regex(
  /^[A-Za-z][A-Za-z0-9]*[= ].+$/,
  'must read Name=value, as in ssh_config(5)',
);

/** `connect` of an active job. */
export const connect = z.discriminatedUnion('type', [
  z
    .strictObject({
      type: z.literal('tcp').describe('Plain TCP: not encrypted.'),
      address: networkAddress.describe('host:port of the other side.'),
      dial_timeout: dialTimeout,
    })
    .transform(({ type, address, dial_timeout }): ConnectSettings => ({ type, address, dialTimeoutMs: dial_timeout })),
  z
    .strictObject({
      type: z.literal('tls').describe('TCP with TLS; both sides show certificates.'),
      address: networkAddress.describe('host:port of the other side.'),
      ...tlsFiles,
      server_cn: text('the common name of the server').describe(
        'The name the certificate of the server has to be for.',
      ),
      dial_timeout: dialTimeout,
    })
    .transform(({ type, address, ca, cert, key, server_cn, dial_timeout }): ConnectSettings => ({
      type,
      address,
      ca,
      cert,
      key,
      serverCN: server_cn,
      dialTimeoutMs: dial_timeout,
    })),
  z
    .strictObject({
      type: z.literal('ssh+stdinserver').describe('The ssh of this machine; the other side runs a forced command.'),
      host: sshHost.describe('A host name, an alias of the configuration of ssh, or an address.'),
      user: sshUser.optional().describe('The user there. Default: what ssh would take.'),
      port: wholeNumber(1, 65535).optional().describe('The port there. Default: what ssh would take.'),
      identity_file: absolutePath.optional().describe('The private key. Default: what ssh would take.'),
      options: z
        .array(sshOption, expecting('a list of options of ssh'))
        .default([])
        .describe('Options of ssh_config(5), each Name=value.'),
      remote_command: argv.optional().describe('What is run there. Default: the forced command of the key.'),
      dial_timeout: dialTimeout,
    })
    .transform(({ type, host, user, port, identity_file, options, remote_command, dial_timeout }): ConnectSettings => ({
      type,
      host,
      user: user ?? null,
      port: port ?? null,
      identityFile: identity_file ?? null,
      options,
      remoteCommand: remote_command ?? [],
      dialTimeoutMs: dial_timeout,
    })),
  z
    .strictObject({
      type: z.literal('local').describe('Another job of this configuration.'),
      listener_name: text('the listener_name of another job').describe('listener_name of the job to connect to.'),
      client_identity: identity.describe('Who this job is to the other one.'),
      dial_timeout: dialTimeout,
    })
    .transform(({ type, listener_name, client_identity, dial_timeout }): ConnectSettings => ({
      type,
      listenerName: listener_name,
      clientIdentity: client_identity,
      dialTimeoutMs: dial_timeout,
    })),
  z
    .strictObject({
      type: z.literal('unix').describe('A socket of this machine, perhaps one that a tunnel brings here.'),
      path: absolutePath.describe('The socket.'),
      dial_timeout: dialTimeout,
    })
    .transform(({ type, path, dial_timeout }): ConnectSettings => ({ type, path, dialTimeoutMs: dial_timeout })),
  z
    .strictObject({
      type: z.literal('command').describe('A program whose standard input and output are the connection.'),
      command: argv.describe('The program and its arguments; no shell is involved.'),
      dial_timeout: dialTimeout,
    })
    .transform(({ type, command, dial_timeout }): ConnectSettings => ({
      type,
      argv: command,
      dialTimeoutMs: dial_timeout,
    })),
]);

const network = z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()]);

/** An identity in which a star stands for the address. */
const identityOfAddress = z.string(expecting('an identity')).superRefine((name, context) => {
  const checked = identity.safeParse(name.replaceAll('*', '0'));
  for (const { message } of checked.error?.issues ?? []) context.addIssue(message);
});

const clients = z
  .record(z.string(), identityOfAddress, expecting('addresses or networks to identities, e.g. { "192.0.2.7": web1 }'))
  .superRefine((entries, context) => {
    for (const key of Object.keys(entries).filter((written) => !network.safeParse(written).success)) {
      const message = `${JSON.stringify(key)} is neither an address nor a network such as 10.1.0.0/16 or fd00::/8`;
      context.addIssue({ code: 'custom', path: [key], message, params: { ofKey: true } });
    }
    if (Object.keys(entries).length === 0) context.addIssue('allows nobody to connect; add an address and who it is');
  });

/** `serve` of a passive job. */
export const serve = z.discriminatedUnion('type', [
  z
    .strictObject({
      type: z.literal('tcp').describe('Plain TCP: not encrypted, and clients are known by their addresses.'),
      listen: listenAddress.describe('address:port, :port for every address, or systemd:NAME.'),
      clients: clients.describe(
        'Addresses or networks to identities, in which * stands for the address. Nobody else may connect.',
      ),
    })
    .transform((settings): ServeSettings => settings),
  z
    .strictObject({
      type: z.literal('tls').describe('TCP with TLS; clients are known by the common names of their certificates.'),
      listen: listenAddress.describe('address:port, :port for every address, or systemd:NAME.'),
      ...tlsFiles,
      client_cns: listOf(identity, 'a list of common names').describe(
        'Common names that may connect; each is the identity of its client.',
      ),
      handshake_timeout: duration.prefault('10s').describe('How long a client may take to show its certificate.'),
    })
    .transform(({ type, listen, ca, cert, key, client_cns, handshake_timeout }): ServeSettings => ({
      type,
      listen,
      ca,
      cert,
      key,
      clientCNs: client_cns,
      handshakeTimeoutMs: handshake_timeout,
    })),
  z
    .strictObject({
      type: z
        .literal('stdinserver')
        .describe('ssh, with "snapferry stdinserver IDENTITY" as the forced command of a key.'),
      client_identities: listOf(identity, 'a list of identities').describe('Identities that may connect.'),
    })
    .transform(({ type, client_identities }): ServeSettings => ({ type, clientIdentities: client_identities })),
  z
    .strictObject({
      type: z.literal('local').describe('Other jobs of this configuration.'),
      listener_name: text('a name').describe('What they name it by.'),
    })
    .transform(({ type, listener_name }): ServeSettings => ({ type, listenerName: listener_name })),
  z
    .strictObject({
      type: z.literal('unix').describe('A socket of this machine.'),
      path: z
        .string(expecting('an absolute path, or systemd:NAME'))
        .refine(
          (value) => systemdSocket(value) !== null || /^\/(?!.*(\/|^)\.\.(\/|$)).+$/.test(value),
          'must be an absolute path, or systemd:NAME',
        )
        .describe('Where the socket is made, or systemd:NAME. Its directory should be private.'),
      client_identity: identity.describe('Who everybody is that may open the socket.'),
    })
    .transform(({ type, path, client_identity }): ServeSettings => {
      const socketName = systemdSocket(path);
      return { type, path: socketName === null ? path : null, socketName, clientIdentity: client_identity };
    }),
]);
