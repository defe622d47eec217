import { formatVersion } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import type { ReceiveRequest, ReceiveResult } from '../../sink.ts';
import { zfsStreamFormat } from './handler.ts';
import { versionName } from './names.ts';
import { destroyPlaceholder, isEmptyPlaceholder, replacementFor } from './placeholder.ts';
import { explainRefusal, runReceive } from './receive.ts';
import { receiveProperties } from './receive-properties.ts';
import type { ReceiveStream, StreamHead } from './receive-stream.ts';
import { abortReceive } from './sink-abort.ts';
import { settleReceived } from './sink-settle.ts';
import type { SettleContext } from './sink-settle.ts';
import { readState } from './sink-state.ts';
import type { DatasetState } from './sink-state.ts';
import { checkIncrement, findReceived, listVersionsIfThere } from './sink-versions.ts';

/** What receiving takes beside the transfer. */
export interface ReceiveContext extends SettleContext {
  readonly signal: AbortSignal | undefined;
}

/**
 * Receives one transfer into a dataset and looks whether it is there, whatever `zfs recv` says of it. Nothing is believed: not the
 * stream, not an exit status, not that a dataset is a copy because it has the name of one.
 * @throws SnapferryError `INVALID_REQUEST`, `VERSION_NOT_FOUND`, `STREAM_FORMAT_MISMATCH`, `PROTOCOL_VIOLATION`, `BUSY`,
 *   `RESUME_TOKEN_INVALID`, `CANCELLED`, `TIMEOUT`, `INTERNAL` with the words of `zfs`, or whatever the bytes throw
 */
export async function receiveTransfer(
  context: ReceiveContext,
  request: ReceiveRequest,
  stream: ReceiveStream,
): Promise<ReceiveResult> {
  const { tool, dataset, signal } = context;
  const { from, to, format } = request;
  if (format !== null && format !== zfsStreamFormat) {
    throw new SnapferryError(
      'STREAM_FORMAT_MISMATCH',
      `${dataset} takes ZFS streams, and the sender sends ${JSON.stringify(format)}`,
    );
  }
  const snapshot = versionName(dataset, { type: 'snapshot', name: to.name });
  const head = await stream.head(context.properties.fromSender === true);
  checkHead(head, request);
  const state = await clearedState(context, request);
  if (from !== null) await checkIncrement(tool, dataset, { from, to });
  const isForced = from === null && (await prepareFirst(context, request, { head, state }));
  const properties = receiveProperties(context.properties, {
    kind: head.kind,
    carriesProperties: head.hasPackage && context.properties.fromSender === true,
  });
  const end = await runReceive(tool, { snapshot, properties, isForced, signal }, stream);
  const received = await findReceived(tool, dataset, to);
  if (received === undefined) {
    const versions = (await listVersionsIfThere(tool, dataset)) ?? [];
    if (!end.isSuccess) throw explainRefusal(end, { dataset, from, versions, head });
    const text = `zfs recv was content, but ${snapshot} with the guid ${to.guid} is not there; it said: ${end.stderr.trim()}`;
    throw new SnapferryError('INTERNAL', text);
  }
  context.logger?.info({ dataset, snapshot: received.name, bytes: stream.bytes }, 'snapshot received');
  const said = end.isSuccess ? end.stderr.trim() : end.error.message;
  const kept = new Set(properties.override.map(([name]) => name));
  return {
    notices: [
      ...(said === '' ? [] : [`${snapshot} is complete, but zfs recv complained: ${said}`]),
      ...(await settleReceived(context, { received, kept, wasMarked: state?.isMarked === true, kind: head.kind })),
    ],
    missing: [],
  };
}

function checkHead(head: StreamHead, { from, to, resumed }: ReceiveRequest): void {
  const refuse = (what: string): never => {
    throw new SnapferryError('PROTOCOL_VIOLATION', `the stream is refused: ${what}; nothing of it was received`, {
      connectionDead: false,
    });
  };
  if (head.toGuid !== to.guid) {
    refuse(`it makes a snapshot with the guid ${head.toGuid}, and ${formatVersion(to)} has ${to.guid}`);
  }
  if (head.fromGuid !== (from?.guid ?? null)) {
    refuse(`it starts from ${head.fromGuid ?? 'nothing'}, and should from ${from === null ? 'nothing' : from.guid}`);
  }
  if (head.isResuming !== resumed) {
    refuse(
      resumed ? 'it should go on with a transfer, and begins one' : 'it goes on with a transfer, and should begin one',
    );
  }
  if (head.kind === 'other') refuse('it is neither of a filesystem nor of a volume');
}

/** What is there. Whatever an interrupted receive left that this one does not go on with is in its way, and goes. */
async function clearedState(
  { tool, dataset, signal }: ReceiveContext,
  { resumed }: ReceiveRequest,
): Promise<DatasetState | null> {
  const state = await readState(tool, dataset, signal);
  const hasPartial = state !== null && state.resumeToken !== null;
  if (resumed && !hasPartial) {
    throw new SnapferryError(
      'RESUME_TOKEN_INVALID',
      `the sender goes on with a transfer of which nothing is in ${dataset}; run again to begin anew`,
    );
  }
  if (resumed || !hasPartial) return state;
  await abortReceive(tool, dataset);
  return readState(tool, dataset, signal);
}

/** Makes way for a first receive. Says whether it has to be forced. */
async function prepareFirst(
  { tool, dataset, signal }: ReceiveContext,
  { resumed }: ReceiveRequest,
  { head, state }: { readonly head: StreamHead; readonly state: DatasetState | null },
): Promise<boolean> {
  if (state === null) return false;
  if (state.isInconsistent) {
    if (resumed) return false;
    throw new SnapferryError(
      'BUSY',
      `${dataset} is being received into by another program; run again once that has ended`,
    );
  }
  const versions = (await listVersionsIfThere(tool, dataset, signal)) ?? [];
  const snapshots = versions.filter(({ type }) => type === 'snapshot').length;
  if (!isEmptyPlaceholder(state, snapshots)) throw inTheWay(dataset, state, snapshots);
  if (resumed) return true;
  const replacement = await replacementFor(tool, { dataset, state, head });
  if (replacement === 'destroy') await destroyPlaceholder(tool, dataset);
  return replacement === 'force';
}

function inTheWay(dataset: string, state: DatasetState, snapshots: number): SnapferryError {
  const why =
    snapshots > 0
      ? 'has snapshots that the source does not know'
      : state.isMarked
        ? `was made as a placeholder, but ${state.usedBy ?? 'is in use'}`
        : 'exists and was not made by a receive';
  return new SnapferryError(
    'INVALID_REQUEST',
    `${dataset} ${why}, so a first copy cannot be received there. Nothing was changed. Choose another place, or move it ` +
      `("zfs rename ${dataset} NEW-NAME") or, if it is not needed, destroy it, and run again`,
  );
}
