import type { RPCHandler } from '../rpc/interfaces.ts';

/** A handler that answers as `handler` does, except for what is overridden. What `handler` lacks stays absent. */
export function delegating(handler: RPCHandler, overrides: Partial<RPCHandler>): RPCHandler {
  const transferEstimate = handler.transferEstimate?.bind(handler);
  const transferCompleted = handler.transferCompleted?.bind(handler);
  const pullMe = handler.pullMe?.bind(handler);
  return {
    filesystems: (request, context) => handler.filesystems(request, context),
    filesystemVersions: (request, context) => handler.filesystemVersions(request, context),
    initialTransfer: (request, context) => handler.initialTransfer(request, context),
    incrementalTransfer: (request, context) => handler.incrementalTransfer(request, context),
    ...(transferEstimate && { transferEstimate }),
    ...(transferCompleted && { transferCompleted }),
    ...(pullMe && { pullMe }),
    ...(handler.custom && { custom: handler.custom }),
    ...(handler.protocols && { protocols: handler.protocols }),
    ...overrides,
  };
}
