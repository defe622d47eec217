import { formatDatasetPath } from '../dataset.ts';
import type { DatasetPath } from '../dataset.ts';
import { SnapferryError } from '../errors.ts';
import { delegating } from '../handlers/delegating.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';

/** A handler that answers for the selected datasets only. */
export function selectedSource(handler: RPCHandler, select: (filesystem: DatasetPath) => boolean): RPCHandler {
  const check = (filesystem: DatasetPath): void => {
    if (select(filesystem)) return;
    throw new SnapferryError('DATASET_NOT_FOUND', `there is no dataset "${formatDatasetPath(filesystem)}" here`);
  };
  const transferEstimate = handler.transferEstimate?.bind(handler);
  const transferCompleted = handler.transferCompleted?.bind(handler);
  return delegating(handler, {
    filesystems: async (request, context) => (await handler.filesystems(request, context)).filter(select),
    async filesystemVersions(request, context) {
      check(request.filesystem);
      return handler.filesystemVersions(request, context);
    },
    async initialTransfer(request, context) {
      check(request.filesystem);
      return handler.initialTransfer(request, context);
    },
    async incrementalTransfer(request, context) {
      check(request.filesystem);
      return handler.incrementalTransfer(request, context);
    },
    ...(transferEstimate && {
      async transferEstimate(request, context) {
        check(request.filesystem);
        return transferEstimate(request, context);
      },
    }),
    ...(transferCompleted && {
      async transferCompleted(request, context) {
        check(request.filesystem);
        return transferCompleted(request, context);
      },
    }),
  });
}
