import { afterEach } from 'vitest';
import type { RPCHandler, RPCRequester } from '../../src/rpc/interfaces.ts';
import { sessionHandler } from '../support/session.ts';
import { describeCalls } from './rpc-calls.ts';
import { describeCancelling } from './rpc-cancelling.ts';
import { describeErrors } from './rpc-errors.ts';
import { describePullMe } from './rpc-pull-me.ts';

/** A requester and what it is connected to. */
export interface ConnectedRequester {
  readonly client: RPCRequester;
  /** Resolves when the answering side has released everything; never rejects. */
  readonly released: Promise<unknown>;
}

/** What a way of connecting cannot promise. */
export interface RequesterTraits {
  /** Version 1 has no codes, no cancel, no report, no progress, and a failed stream ends the connection. */
  readonly version: 1 | 2;
}

/** Connects a requester to a handler; the answering side knows the client as `tester`. */
export type ConnectRequester = (handler: RPCHandler) => Promise<ConnectedRequester>;

/** A handler of which some calls are other than usual; `undefined` for one it does not have. */
export type HandlerChanges = { readonly [Call in keyof RPCHandler]?: RPCHandler[Call] | undefined };

/** What the parts of the suite work with. */
export interface Requesters {
  readonly name: string;
  /** Connects to the usual handler with these changes; closed after the test. */
  readonly connected: (changes?: HandlerChanges) => Promise<ConnectedRequester>;
  readonly connectedClient: (changes?: HandlerChanges) => Promise<RPCRequester>;
  readonly isVersion2: boolean;
}

/** The promises every requester keeps, near or far. */
export function describeRequester(name: string, connect: ConnectRequester, { version }: RequesterTraits): void {
  const open: ConnectedRequester[] = [];
  const connected = async (changes: HandlerChanges = {}): Promise<ConnectedRequester> => {
    const connection = await connect({ ...sessionHandler([]), ...changes } as RPCHandler);
    open.push(connection);
    return connection;
  };
  afterEach(async () => {
    for (const { client, released } of open.splice(0)) {
      client.forceClose();
      await released;
    }
  });
  const connectedClient = async (changes?: HandlerChanges): Promise<RPCRequester> => (await connected(changes)).client;
  const requesters: Requesters = { name, connected, connectedClient, isVersion2: version === 2 };
  describeCalls(requesters);
  describeErrors(requesters);
  describeCancelling(requesters);
  describePullMe(requesters);
}
