import { checkDatasetPath, checkVersionName, formatDatasetPath } from '../dataset.ts';
import type { DatasetPath, FilesystemVersion } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import type { CustomRequest, RequestContext, RPCHandler } from '../rpc/interfaces.ts';
import { admitToken } from './admit-token.ts';
import type { ReadResumeToken } from './admit-token.ts';

/** What a peer may do with each dataset, and what it may name at all. */
export interface AccessPolicy {
  /** See that it exists, and its versions. */
  readonly mayList: (filesystem: DatasetPath) => boolean;
  /** Have it sent. */
  readonly mayRead: (filesystem: DatasetPath) => boolean;
  /** Have us pull from it. */
  readonly mayPush: boolean;
  /**
   * The backend's own rules for names of datasets, on top of `checkDatasetPath`: throws for a name that its tools would
   * take for an option, or for two names. Default: no more rules.
   */
  readonly checkDataset?: (filesystem: DatasetPath) => void;
  /** Reads what a resume token of this backend says. Default: a token is taken out, and the transfer begins anew. */
  readonly readResumeToken?: ReadResumeToken;
  /** Ask for a request of the embedding program's own. Default: none of them. */
  readonly mayAsk?: (request: { readonly type: number; readonly name: string }) => boolean;
  /** Take the connection over for this protocol. Default: none. */
  readonly mayUpgrade?: (protocol: string) => boolean;
}

/** The requests that a handler answers one by one. */
type GuardedRequest = Exclude<keyof RPCHandler, 'custom' | 'protocols'>;
type RequestOf<Name extends GuardedRequest> = Parameters<NonNullable<RPCHandler[Name]>>[0];

/** Looks at a request before anything is done about it: throws, or returns the request to go on with. */
type Guards = {
  readonly [Name in GuardedRequest]: (request: RequestOf<Name>, context: RequestContext) => RequestOf<Name>;
};

/**
 * The only access check: a handler that does nothing the policy does not allow. A dataset that may not be seen is refused
 * with `ACCESS_DENIED` whether it exists or not, and never listed; a refused PullMe is refused before it is confirmed. A
 * name that could be anything but the name of a dataset, a snapshot or a job is refused with `INVALID_REQUEST`, and a
 * resume token that is not of exactly the requested transfer with `RESUME_TOKEN_INVALID`, before the handler sees either.
 */
export function restricted(handler: RPCHandler, policy: AccessPolicy): RPCHandler {
  const guards = guardsOf(policy);
  const transferEstimate = handler.transferEstimate?.bind(handler);
  const transferCompleted = handler.transferCompleted?.bind(handler);
  const pullMe = handler.pullMe?.bind(handler);
  return {
    async filesystems(request, context) {
      return (await handler.filesystems(guards.filesystems(request, context), context)).filter(policy.mayList);
    },
    async filesystemVersions(request, context) {
      return handler.filesystemVersions(guards.filesystemVersions(request, context), context);
    },
    async initialTransfer(request, context) {
      return handler.initialTransfer(guards.initialTransfer(request, context), context);
    },
    async incrementalTransfer(request, context) {
      return handler.incrementalTransfer(guards.incrementalTransfer(request, context), context);
    },
    ...(transferEstimate && {
      async transferEstimate(request, context) {
        return transferEstimate(guards.transferEstimate(request, context), context);
      },
    }),
    ...(transferCompleted && {
      async transferCompleted(request, context) {
        return transferCompleted(guards.transferCompleted(request, context), context);
      },
    }),
    ...(pullMe && {
      async pullMe(request, context) {
        return pullMe(guards.pullMe(request, context), context);
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

function guardsOf(policy: AccessPolicy): Guards {
  const { mayList, mayRead, mayPush } = policy;
  const checkNames = (
    filesystem: DatasetPath,
    versions: readonly (FilesystemVersion | null)[],
    jobId?: string,
  ): void => {
    checkDatasetPath(filesystem);
    policy.checkDataset?.(filesystem);
    for (const version of versions) if (version !== null) checkVersionName(version.name);
    if (jobId !== undefined) checkJobId(jobId);
  };
  const checkReadable = (filesystem: DatasetPath, context: RequestContext): void =>
    check(mayList(filesystem) && mayRead(filesystem), context, `read ${formatDatasetPath(filesystem)}`);

  return {
    filesystems(request) {
      for (const root of request.roots ?? []) checkRoot(root, policy);
      return request;
    },
    filesystemVersions(request, context) {
      checkNames(request.filesystem, []);
      check(mayList(request.filesystem), context, `see ${formatDatasetPath(request.filesystem)}`);
      return request;
    },
    initialTransfer(request, context) {
      const { filesystem, version, resumeToken, jobId } = request;
      checkNames(filesystem, [version], jobId);
      checkReadable(filesystem, context);
      return {
        ...request,
        resumeToken: admitToken(resumeToken, { filesystem, from: null, to: version }, policy, context),
      };
    },
    incrementalTransfer(request, context) {
      const { filesystem, from, to, resumeToken, jobId } = request;
      checkNames(filesystem, [from, to], jobId);
      checkReadable(filesystem, context);
      return { ...request, resumeToken: admitToken(resumeToken, { filesystem, from, to }, policy, context) };
    },
    transferEstimate(request, context) {
      const { filesystem, from, to, resumeToken } = request;
      checkNames(filesystem, [from, to]);
      checkReadable(filesystem, context);
      return { ...request, resumeToken: admitToken(resumeToken, { filesystem, from, to }, policy, context) };
    },
    transferCompleted(request, context) {
      checkNames(request.filesystem, [request.version], request.jobId);
      checkReadable(request.filesystem, context);
      return request;
    },
    pullMe(request, context) {
      check(mayPush, context, 'store anything here');
      return request;
    },
  };
}

/** An empty root stands for everything, as ever; what may be seen is decided when the answer is there. */
function checkRoot(root: string, policy: AccessPolicy): void {
  const name = root.replace(/^\/+|\/+$/g, '');
  if (name === '') return;
  const path = name.split('/');
  checkDatasetPath(path);
  policy.checkDataset?.(path);
}

/** A job becomes part of the names of holds and bookmarks. */
function checkJobId(jobId: string): void {
  try {
    checkVersionName(jobId);
  } catch (error) {
    throw new SnapferryError('INVALID_REQUEST', `the job id is refused: ${(error as Error).message}`, { cause: error });
  }
}

function check(allowed: boolean, context: RequestContext, what: string): void {
  if (allowed) return;
  context.logger.warn({ identity: context.clientIdentity, what }, 'access denied');
  const name = context.clientIdentity === '' ? 'a client without identity' : context.clientIdentity;
  throw new SnapferryError('ACCESS_DENIED', `${name} may not ${what}`);
}

function guarded(request: CustomRequest, guard: (context: RequestContext) => void): CustomRequest {
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
          guard(context);
          return prepared.handle(context, stream);
        },
      };
    },
  };
}
