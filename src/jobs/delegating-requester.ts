import type { RPCRequester } from '../rpc/interfaces.ts';

/** A requester that behaves as `client` does, except for what is overridden. */
export function delegatingRequester(client: RPCRequester, overrides: Partial<RPCRequester>): RPCRequester {
  return {
    get protocolVersion() {
      return client.protocolVersion;
    },
    filesystems: (request, options) => client.filesystems(request, options),
    filesystemVersions: (request, options) => client.filesystemVersions(request, options),
    initialTransfer: (request, options) => client.initialTransfer(request, options),
    incrementalTransfer: (request, options) => client.incrementalTransfer(request, options),
    transferEstimate: (request, options) => client.transferEstimate(request, options),
    transferCompleted: (request, options) => client.transferCompleted(request, options),
    pullMe: (request, handler, options) => client.pullMe(request, handler, options),
    request: (call, request, options) => client.request(call, request, options),
    upgrade: (protocol, options) => client.upgrade(protocol, options),
    detach: () => client.detach(),
    close: (goodbye) => client.close(goodbye),
    forceClose: () => client.forceClose(),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
    ...overrides,
  };
}
