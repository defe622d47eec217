import { SnapferryError } from '../../errors.ts';
import type { TransferBytes } from '../../sink.ts';
import type { RunningCommand } from '../run-command.ts';
import type { ZfsTool } from './commands-tool.ts';
import { sendArguments } from './commands.ts';
import { versionName } from './names.ts';
import { parseBeginRecord, recordBytes } from './receive-head.ts';
import type { PreparedSend } from './send.ts';

/**
 * The stream of a prepared transfer. `zfs send` runs while it is iterated, and is stopped and reaped when the iteration ends in
 * whatever way. Before anything is given out, the stream's own first record must name the guids asked for: a snapshot may have been
 * destroyed and made anew under the same name since the names were looked up.
 * @throws SnapferryError `SOURCE_FAILED` and others with the words of `zfs`, `VERSION_NOT_FOUND`, `TIMEOUT`, `CANCELLED`
 */
export async function* sendBytes(tool: ZfsTool, prepared: PreparedSend, signal?: AbortSignal): TransferBytes {
  const doing = `sending ${versionName(prepared.dataset, prepared.to.version)}`;
  const send = tool.spawn(sendArguments(prepared.subject), { doing, signal, stream: 'output' });
  try {
    try {
      yield* afterCheck(send, prepared);
    } catch (error) {
      // A stopped command breaks its output; then the reason is what it was stopped for.
      if (!(error instanceof SnapferryError)) await send.finished;
      throw error;
    }
    await send.finished;
  } finally {
    await send.stop();
  }
}

async function* afterCheck(
  { stdout, finished }: Pick<RunningCommand, 'stdout' | 'finished'>,
  prepared: PreparedSend,
): AsyncGenerator<Uint8Array> {
  let head: Buffer | null = Buffer.alloc(0);
  for await (const piece of stdout) {
    if (head === null) {
      yield piece;
      continue;
    }
    const { buffer, byteOffset, byteLength } = piece;
    head = Buffer.concat([head, Buffer.from(buffer, byteOffset, byteLength)]);
    if (head.length < recordBytes) continue;
    checkHead(head, prepared);
    yield head;
    head = null;
  }
  if (head === null) return;
  // It has most likely failed, and says why.
  await finished;
  throw new SnapferryError('SOURCE_FAILED', 'zfs send ended, without an error, before its stream had begun');
}

function checkHead(head: Uint8Array, { dataset, from, to }: PreparedSend): void {
  const begin = parseBeginRecord(head);
  // With properties, the stream is packed into another whose head has no guids.
  if (begin.isPackage) return;
  if (begin.toGuid === to.version.guid && begin.fromGuid === (from?.version.guid ?? null)) return;
  throw new SnapferryError(
    'VERSION_NOT_FOUND',
    `${versionName(dataset, to.version)}, or what it is sent from, was made anew under the same name; compare both sides again`,
  );
}
