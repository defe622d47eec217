import type { ConnectSettings } from '../../config/connection-settings.ts';
import { quoteForShell } from '../../transport/ssh.ts';
import type { Cure, Finding } from './finding.ts';
import { advice, cure, cureOn } from './finding.ts';
import type { DoctorCheck, SeenError } from './patient.ts';

const codes = new Set(['CONNECT_FAILED', 'CONNECTION_LOST', 'PEER_SILENT', 'TIMEOUT', 'STREAM_TRUNCATED', 'GOODBYE']);

/** The other side cannot be reached, or has stopped answering. */
export const peerCheck: DoctorCheck = {
  name: 'peer',
  examine({ name, job, errors }) {
    const found = errors.filter(({ code }) => codes.has(code));
    const worst = found.find(({ when }) => when === 'now') ?? found[0];
    if (worst === undefined || job === null) return [];
    const cures =
      'connect' in job ? curesOf(job.connect, worst, name) : [cure('see whether it listens', ['ss', '-lntxp'])];
    const finding: Finding = { check: 'peer', severity: 'problem', subject: name, message: describe(worst), cures };
    return [finding];
  },
};

function describe({ code, message, when }: SeenError): string {
  if (when === 'now') return `the other side cannot be reached now: ${message}`;
  const held = code === 'GOODBYE' ? 'was being stopped' : 'was lost or did not answer';
  return `the other side ${held} when the job last ran, and can be reached now: ${message}`;
}

function curesOf(connect: ConnectSettings, { message, when }: SeenError, job: string): Cure[] {
  if (when === 'earlier') return [cure('run it again', ['snapferry', 'signal', job, 'wakeup'])];
  switch (connect.type) {
    case 'ssh+stdinserver':
      return curesOfSSH(connect, message);
    case 'tls':
      return curesOfTLS(connect, message);
    case 'tcp': {
      const { host, port } = connect.address;
      return [
        cure('see whether the port can be reached', ['nc', '-zv', host, String(port)]),
        cureOn(host, 'see whether the daemon runs there', ['systemctl', 'status', 'snapferry']),
      ];
    }
    case 'unix':
      return [cure('see who listens there', ['ss', '-lxp', 'src', connect.path])];
    case 'command':
      return [cure('see what the program says', connect.argv)];
    case 'local':
      return [advice(`a job with "listener_name: ${connect.listenerName}" has to be in the same configuration`)];
  }
}

type SSHSettings = Extract<ConnectSettings, { type: 'ssh+stdinserver' }>;

function curesOfSSH(connect: SSHSettings, message: string): Cure[] {
  const { host, port, identityFile } = connect;
  const key = identityFile === null ? '~/.ssh/id_ed25519' : quoteForShell(identityFile);
  if (/host key verification failed|remote host identification has changed/i.test(message)) {
    const portOption = port === null ? [] : ['-p', String(port)];
    const known = cure('show its key; compare it there, then add it to ~/.ssh/known_hosts', [
      'ssh-keyscan',
      ...portOption,
      host,
    ]);
    const forget = cure('if the machine was set up anew, forget the old key', ['ssh-keygen', '-R', host]);
    return /has changed/i.test(message) ? [forget, known] : [known];
  }
  if (/permission denied|no such identity|too many authentication failures/i.test(message)) {
    return [
      { what: 'show the key that has to be allowed there', command: `ssh-keygen -y -f ${key}`, host: null },
      advice(`on ${host}, put it into authorized_keys behind: command="snapferry stdinserver IDENTITY",restrict`),
    ];
  }
  if (/could not resolve|name or service not known/i.test(message)) {
    return [cure('see whether the name is known', ['getent', 'hosts', host]), advice('correct "host" of the job')];
  }
  if (/command not found|not found/i.test(message)) {
    return [
      cureOn(host, 'install it, or name its whole path in authorized_keys', ['npm', 'install', '-g', 'snapferry']),
    ];
  }
  return [
    cure('see what ssh says', sshWords(connect)),
    cureOn(host, 'see what it says there', ['journalctl', '-u', 'ssh', '-n', '20']),
  ];
}

function sshWords({ host, user, port, identityFile, options }: SSHSettings): string[] {
  const words = ['ssh', '-v', '-o', 'BatchMode=yes', '-T'];
  if (port !== null) words.push('-p', String(port));
  if (identityFile !== null) words.push('-i', identityFile);
  for (const option of options) words.push('-o', option);
  return [...words, user === null ? host : `${user}@${host}`];
}

function curesOfTLS(connect: Extract<ConnectSettings, { type: 'tls' }>, message: string): Cure[] {
  const { address, serverCN, ca, cert, key } = connect;
  const at = address.host.includes(':') ? `[${address.host}]` : address.host;
  const files = ['-CAfile', ca, '-cert', cert, '-key', key];
  const dial = ['openssl', 's_client', '-connect', `${at}:${address.port}`, '-servername', serverCN, ...files];
  const cures = [cure('see what TLS says', dial)];
  if (/expired|not yet valid|certificate/i.test(message)) {
    cures.unshift(cure('see whose our certificate is, and until when', certificateWords(cert)));
  }
  return [...cures, cureOn(address.host, 'see whether the daemon runs there', ['systemctl', 'status', 'snapferry'])];
}

function certificateWords(cert: string): string[] {
  return ['openssl', 'x509', '-noout', '-subject', '-issuer', '-dates', '-in', cert];
}
