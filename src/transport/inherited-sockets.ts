import { SnapferryError } from '../errors.ts';

const firstFd = 3;

/** A listening socket that was open when this process started. */
export interface InheritedSocket {
  /** Its file descriptor. */
  readonly fd: number;
  /** What its unit calls it (`FileDescriptorName=`), or `unknown`. */
  readonly name: string;
}

/**
 * The listening sockets a service manager handed to this process (`LISTEN_FDS`, as systemd's socket activation does);
 * none if there are none, or if they were meant for another process. Hand one to `listenTCP`, `listenTLS` or
 * `listenUnix` as `{ fd }`.
 * @throws SnapferryError `INVALID_REQUEST` if the variables make no sense
 */
export function inheritedSockets(
  env: NodeJS.ProcessEnv = process.env,
  pid: number = process.pid,
): readonly InheritedSocket[] {
  const count = env['LISTEN_FDS'];
  if (count === undefined || env['LISTEN_PID'] !== String(pid)) return [];
  if (!/^\d{1,4}$/.test(count)) {
    throw new SnapferryError('INVALID_REQUEST', `LISTEN_FDS is ${JSON.stringify(count)}, and should be a number`);
  }
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  return Array.from({ length: Number(count) }, (_, index) => ({
    fd: firstFd + index,
    name: names[index] === undefined || names[index] === '' ? 'unknown' : names[index],
  }));
}
