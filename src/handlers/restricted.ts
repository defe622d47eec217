import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import type { CustomRequest, RequestContext, RPCHandler } from '../rpc/interfaces.ts';

/** What a peer may do with each dataset. */
export interface AccessPolicy {
  /** See that it exists, and its versions. */
  readonly mayList: (filesystem: DatasetPath) => boolean;
  /** Have it sent. */
  readonly mayRead: (filesystem: DatasetPath) => boolean;
  /** Have us pull from it. */
  readonly mayPush: boolean;
  /** Ask for a request of the embedding program's own. Default: none of them. */
  readonly mayAsk?: (request: { readonly type: number; readonly name: string }) => boolean;
  /** Take the connection over for this protocol. Default: none. */
  readonly mayUpgrade?: (protocol: string) => boolean;
}

/**
 * The only access check: a handler that does nothing the policy does not allow. A dataset that may not be seen is refused
 * with `ACCESS_DENIED` whether it exists or not, and never listed; a refused PullMe is refused before it is confirmed.
 */
export function restricted(handler: RPCHandler, policy: AccessPolicy): RPCHandler {
  const { mayList, mayRead } = policy;
  const mayListAndRead = (filesystem: DatasetPath) => mayList(filesystem) && mayRead(filesystem);

  const check = (allowed: boolean, context: RequestContext, what: string): void => {
    if (allowed) return;
    context.logger.warn({ identity: context.clientIdentity, what }, 'access denied');
    throw new SnapferryError('ACCESS_DENIED', `${nameOf(context)} may not ${what}`);
  };
  const transferEstimate = handler.transferEstimate?.bind(handler);
  const transferCompleted = handler.transferCompleted?.bind(handler);
  const pullMe = handler.pullMe?.bind(handler);
  return {
    async filesystems(request, context) {
      return (await handler.filesystems(request, context)).filter(mayList);
    },
    async filesystemVersions(request, context) {
      check(mayList(request.filesystem), context, `see ${formatDatasetPath(request.filesystem)}`);
      return handler.filesystemVersions(request, context);
    },
    async initialTransfer(request, context) {
      check(mayListAndRead(request.filesystem), context, `read ${formatDatasetPath(request.filesystem)}`);
      return handler.initialTransfer(request, context);
    },
    async incrementalTransfer(request, context) {
      check(mayListAndRead(request.filesystem), context, `read ${formatDatasetPath(request.filesystem)}`);
      return handler.incrementalTransfer(request, context);
    },
    ...(transferEstimate && {
      async transferEstimate(request, context) {
        check(mayListAndRead(request.filesystem), context, `read ${formatDatasetPath(request.filesystem)}`);
        return transferEstimate(request, context);
      },
    }),
    ...(transferCompleted && {
      async transferCompleted(request, context) {
        check(mayListAndRead(request.filesystem), context, `read ${formatDatasetPath(request.filesystem)}`);
        return transferCompleted(request, context);
      },
    }),
    ...(pullMe && {
      async pullMe(request, context) {
        check(policy.mayPush, context, 'store anything here');
        return pullMe(request, context);
      },
    }),
    ...(handler.custom && {
      custom: handler.custom.map((request) =>
        guarded(request, (context) => check(policy.mayAsk?.(request) === true, context, `ask for ${request.name}`)),
      ),
    }),
    ...(handler.protocols && {
      protocols: handler.protocols.map((protocol) => ({
        name: protocol.name,
        async open(context: RequestContext) {
          check(policy.mayUpgrade?.(protocol.name) === true, context, `speak ${protocol.name}`);
          return protocol.open(context);
        },
      })),
    }),
  };
}

function guarded(request: CustomRequest, check: (context: RequestContext) => void): CustomRequest {
  const { type, name, upload } = request;
  return {
    type,
    name,
    upload,
    prepare(body) {
      const prepared = request.prepare(body);
      return {
        short: () => prepared.short(),
        async handle(context, stream) {
          check(context);
          return prepared.handle(context, stream);
        },
      };
    },
  };
}

function nameOf(context: RequestContext): string {
  return context.clientIdentity === '' ? 'a client without identity' : context.clientIdentity;
}
