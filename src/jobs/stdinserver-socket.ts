import { join } from 'node:path';

/** The path of the socket by which `snapferry stdinserver IDENTITY` finds the daemon. */
export function stdinserverSocket(sockdir: string, identity: string): string {
  return join(sockdir, identity);
}
