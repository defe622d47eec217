import type { ErrorCode } from '../errors.ts';
import { errorCodes, isErrorCode } from '../errors.ts';
import type { ConnectSettings } from '../config/connection-settings.ts';
import type { Job } from '../config/job.ts';

/** What a {@link Problem} can be called beside the codes of errors. */
export type ProblemCode = ErrorCode | 'CONFLICT' | 'STALE';

/** Every code of a problem there is. */
export const problemCodes: readonly ProblemCode[] = ['STALE', 'CONFLICT', ...errorCodes];

/**
 * The next thing to do about a problem of a job, in one line.
 * @param code one of {@link problemCodes}; a newer peer may send one we do not know
 */
export function adviceFor(code: string, job: Job): string {
  if (code === 'STALE' || code === 'CONFLICT' || isErrorCode(code)) return advice[code](job);
  return `look at the log: snapferry signal ${job.name} wakeup, and journalctl -u snapferry`;
}

const advice: Readonly<Record<ProblemCode, (job: Job) => string>> = {
  STALE: ({ name, type }) =>
    type === 'sink' || type === 'source'
      ? `see whether its clients still come: snapferry doctor ${name}`
      : `see what keeps it from arriving: snapferry doctor ${name}; then: snapferry signal ${name} wakeup`,
  CONFLICT: ({ name }) => `both sides have changed; what is in the way, and what can be done: snapferry doctor ${name}`,
  CONNECT_FAILED: (job) => `see whether the other machine can be reached: ${reachCommand(job)}`,
  CONNECTION_LOST: ({ name }) => `what has arrived is kept; go on: snapferry signal ${name} wakeup`,
  STREAM_TRUNCATED: ({ name }) => `what has arrived is kept; go on: snapferry signal ${name} wakeup`,
  PEER_SILENT: (job) => `the other machine sleeps, hangs or is out of reach: ${reachCommand(job)}`,
  TIMEOUT: (job) => `see whether the other machine, or a disk, hangs: ${reachCommand(job)}`,
  PROTOCOL_VERSION: () => 'install the same version of snapferry on both machines; here: snapferry --version',
  PROTOCOL_VIOLATION: () =>
    'compare the versions of both machines: snapferry --version; report it if they are the same',
  LIMIT_EXCEEDED: ({ name }) => `the other side sends more than is allowed; what it was: snapferry doctor ${name}`,
  DIGEST_MISMATCH: ({ name }) =>
    `bytes changed on their way; test memory and network, then: snapferry signal ${name} wakeup`,
  UNKNOWN_REQUEST: () => 'the other side is older or of another kind; compare: snapferry --version',
  INVALID_REQUEST: () => 'correct what is named in the configuration, then: snapferry configcheck && snapferry reload',
  ACCESS_DENIED: ({ name }) => `allow it where it was refused, then: snapferry signal ${name} wakeup`,
  DATASET_NOT_FOUND: ({ name }) => `see which datasets there are: snapferry test filesystems ${name}`,
  VERSION_NOT_FOUND: ({ name }) => `a snapshot was removed meanwhile; plan anew: snapferry signal ${name} wakeup`,
  RESUME_TOKEN_INVALID: ({ name }) => `the next run begins it anew: snapferry signal ${name} wakeup`,
  STREAM_FORMAT_MISMATCH: () => 'both sides must have the same backend: correct it, then: snapferry configcheck',
  BUSY: ({ name }) => `wait for who holds it, or see who that is: snapferry doctor ${name}`,
  CANCELLED: ({ name }) => `it was stopped; go on: snapferry signal ${name} wakeup`,
  GOODBYE: ({ name }) => `the other side was being stopped; once it is back: snapferry signal ${name} wakeup`,
  SOURCE_FAILED: () => 'look at the disk and the log of the sending machine: journalctl -u snapferry',
  INTERNAL: () => 'look at the log, and report it if it is a fault of snapferry: journalctl -u snapferry',
};

function reachCommand(job: Job): string {
  if ('connect' in job) return dialCommand(job.connect, job.name);
  return `snapferry doctor ${job.name}`;
}

function dialCommand(connect: ConnectSettings, name: string): string {
  switch (connect.type) {
    case 'ssh+stdinserver': {
      const { host, user, port, identityFile } = connect;
      const options = [
        ...(port === null ? [] : ['-p', String(port)]),
        ...(identityFile === null ? [] : ['-i', identityFile]),
      ];
      return ['ssh', ...options, user === null ? host : `${user}@${host}`].map(shellWord).join(' ');
    }
    case 'tcp':
      return `nc -zv ${shellWord(connect.address.host)} ${connect.address.port}`;
    case 'tls': {
      const { address, serverCN, ca } = connect;
      const at = address.host.includes(':') ? `[${address.host}]` : address.host;
      const words = [
        'openssl',
        's_client',
        '-connect',
        `${at}:${address.port}`,
        '-servername',
        serverCN,
        '-CAfile',
        ca,
      ];
      return words.map(shellWord).join(' ');
    }
    default:
      return `snapferry doctor ${name}`;
  }
}

/** What is shown to be copied into a shell must be one word there. */
function shellWord(word: string): string {
  return /^[\w@%+=:,./[\]-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
