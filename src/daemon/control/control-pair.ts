import { memoryPair } from '../../transport/memory.ts';
import { controlClient } from './control-client.ts';
import type { ControlClient, ControlClientOptions } from './control-client.ts';
import { ControlServer } from './control-server.ts';
import type { ControlServerOptions } from './control-server.ts';

/** A client and a server that are connected inside this process. The caller closes both. */
export interface ControlPair {
  readonly client: ControlClient;
  readonly server: ControlServer;
}

/** A control server and a client of it, for tests and for programs that have their daemon inside. No socket is involved. */
export async function controlPair(
  options: ControlServerOptions,
  clientOptions: ControlClientOptions = {},
): Promise<ControlPair> {
  const server = new ControlServer(options);
  return { client: await connectedClient(server, clientOptions), server };
}

/** One more client of a server, without a socket. */
export function connectedClient(server: ControlServer, options: ControlClientOptions = {}): Promise<ControlClient> {
  const [near, far] = memoryPair({ descriptions: ['memory client', 'memory daemon'] });
  void server.serve(far);
  return controlClient(near, options);
}
