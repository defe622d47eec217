import { Uint8ArrayList } from 'uint8arraylist';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { SnapferryError } from '../../src/errors.ts';
import { ByteStreamRPC, type ByteStreamRPCOptions } from '../../src/rpc/byte-stream-rpc.ts';
import type { Pull, RPCHandler, RPCRequester } from '../../src/rpc/interfaces.ts';
import type { FaultPair } from './fault-pair.ts';
import { bytesOf, seededBytes } from './recorded.ts';

/** A version whose numbers no double can hold. */
export const largeVersion: FilesystemVersion = {
  type: 'snapshot',
  name: 'large <&>',
  guid: 2n ** 64n - 1n,
  createTXG: 2n ** 53n + 1n,
  creation: '2017-05-20T10:00:00.5+02:00',
};
const smallVersion: FilesystemVersion = { type: 'bookmark', name: 'b', guid: 1n, createTXG: 2n, creation: null };

/** One call of a session: what it gave, or the code it failed with. */
export type Result = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly code: string };

/** What happened on both sides of a session. */
export interface SessionLog {
  readonly results: Result[];
  /** Calls of the handler that ran. */
  readonly handled: string[];
  /** How listening ended: null in order, otherwise the code. */
  listened: string | null;
}

/** The dataset every handler of a session offers. */
export const filesystem = ['tank', 'home'];
const transferBytes = 300;

/** Everything a handler can be asked, noting what it was asked. */
export function sessionHandler(handled: string[], pull?: Pull): RPCHandler {
  const note = async (call: string): Promise<void> => {
    handled.push(call);
    await Promise.resolve();
  };
  const offer = async (call: string) => {
    await note(call);
    return { format: 'directory', estimatedBytes: transferBytes, resumed: false, bytes: pieces(call) };
  };
  return {
    async filesystems() {
      await note('filesystems');
      return [filesystem];
    },
    async filesystemVersions() {
      await note('filesystemVersions');
      return [largeVersion, smallVersion];
    },
    initialTransfer: () => offer('initialTransfer'),
    incrementalTransfer: () => offer('incrementalTransfer'),
    async transferEstimate() {
      await note('transferEstimate');
      return 12345;
    },
    async transferCompleted({ version, jobId }) {
      await note(`transferCompleted ${version.guid} ${jobId}`);
    },
    async pullMe() {
      await note('pullMe');
      if (pull === undefined) throw new SnapferryError('ACCESS_DENIED', 'nothing is received here');
      return pull;
    },
  };
}

/** Three pieces at once: given one by one, how they are batched, and so the bytes on the wire, would depend on timing. */
async function* pieces(seed: string): AsyncGenerator<Uint8ArrayList> {
  const bytes = seededBytes(seed, transferBytes);
  await Promise.resolve();
  yield new Uint8ArrayList(bytes.subarray(0, 100), bytes.subarray(100, 200), bytes.subarray(200));
}

/** Makes every call once, in one order; stops at the first that fails. */
export async function everyCall(client: RPCRequester): Promise<Result[]> {
  const version = largeVersion;
  const step = { filesystem, from: smallVersion, to: version };
  const calls: (() => Promise<unknown>)[] = [
    () => client.filesystems({ roots: null }),
    () => client.filesystemVersions({ filesystem }),
    () => client.transferEstimate({ ...step, from: null }),
    async () => bytesOf(await client.initialTransfer({ filesystem, version })),
    async () => bytesOf(await client.incrementalTransfer({ ...step, jobId: 'job' })),
    () => client.transferCompleted({ filesystem, version, jobId: 'job' }),
  ];
  return runAll(calls);
}

async function runAll(calls: (() => Promise<unknown>)[]): Promise<Result[]> {
  const results: Result[] = [];
  for (const call of calls) {
    const result = await settled(call);
    results.push(result);
    if (!result.ok) break;
  }
  return results;
}

/** How a call ended. */
export async function settled(call: () => Promise<unknown>): Promise<Result> {
  try {
    return { ok: true, value: await call() };
  } catch (error) {
    if (!(error instanceof SnapferryError)) throw error;
    return { ok: false, code: error.code };
  }
}

/** A whole session: every call, a push in which every call is made the other way, a call after it, and goodbye. */
export async function runSession({ near, far }: FaultPair, options: ByteStreamRPCOptions = {}): Promise<SessionLog> {
  const log: SessionLog = { results: [], handled: [], listened: null };
  const pull: Pull = async (client) => {
    const results = await everyCall(client);
    const failed = results.find(({ ok }) => !ok);
    if (failed !== undefined) throw new SnapferryError('INTERNAL', 'a call of the pull failed');
    return { filesystems: [{ ...noResult, bytes: results.length }] };
  };
  const handler = sessionHandler(log.handled, pull);
  const listening = ByteStreamRPC.listen(far, { ...options, clientIdentity: 'tester', handler }).then(
    () => null,
    (error: unknown) => (error as SnapferryError).code,
  );
  const connected = await settled(() => ByteStreamRPC.connect(near, options));
  if (connected.ok) {
    const client = connected.value as RPCRequester;
    log.results.push(...(await everyCall(client)));
    const last = [
      () => client.pullMe({ initialReplicationPolicy: 'all' }, sessionHandler(log.handled)),
      () => client.filesystems({ roots: ['tank'] }),
    ];
    if (log.results.every(({ ok }) => ok)) log.results.push(...(await runAll(last)));
    await client.close('bye').catch(() => undefined);
  } else {
    log.results.push(connected);
  }
  log.listened = await listening;
  return log;
}

const noResult = { filesystem, ok: true, code: null, message: '', notices: ['é'], missing: [], bytes: 0, steps: 2 };
