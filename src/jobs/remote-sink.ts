import { SnapferryError } from '../errors.ts';
import type { RPCRequester } from '../rpc/interfaces.ts';
import type { ReplicationSink } from '../sink.ts';

/**
 * The far end of a push as far as a plan can see it: its versions. What an interrupted push may have left there is not
 * told, so a plan does not show that its first step would go on from the middle.
 */
export function remoteSink(client: RPCRequester, signal: AbortSignal): ReplicationSink {
  const never = (): never => {
    throw new SnapferryError('INTERNAL', 'a plan changes nothing');
  };
  return {
    async filesystemVersions(filesystem) {
      try {
        return await client.filesystemVersions({ filesystem }, { signal });
      } catch (error) {
        if (error instanceof SnapferryError && error.code === 'DATASET_NOT_FOUND') return null;
        throw error;
      }
    },
    resumeState: () => Promise.resolve(null),
    discardPartial: never,
    createParents: never,
    receive: never,
  };
}
