import { toSnapferryError, type SnapferryError } from '../errors.ts';
import type { Connection } from './connection.ts';
import type { Answer } from './dispatch-table.ts';
import { encodeError, encodeResponseHeader, type ResponseHeader } from './messages.ts';
import { sendStream } from './outgoing-stream.ts';
import { errorId, responseType } from './protocol.ts';
import type { RequestInProgress } from './request-in-progress.ts';
import type { Incoming } from './request-reader.ts';

function headerOf(requestId: Uint8Array, type: number): ResponseHeader {
  return { requestId, errorId: errorId.none, message: '', code: null, retryable: null, responseType: type };
}

/** Answers with a header alone. */
export async function sendOk(connection: Connection, id: Uint8Array): Promise<void> {
  const header = encodeResponseHeader(headerOf(id, responseType.ok), connection.version);
  await connection.send(connection.encode(header));
}

/**
 * @param wireErrorId null for the one that belongs to the error's code
 * @param version what the peer understands, where that is not settled yet
 */
export async function sendError(
  connection: Connection,
  id: Uint8Array,
  error: SnapferryError,
  wireErrorId: number | null,
  version = connection.version,
): Promise<void> {
  const wire = encodeError(error);
  const header: ResponseHeader = {
    ...wire,
    errorId: wireErrorId ?? (version === 1 ? errorId.handler : wire.errorId),
    requestId: id,
    responseType: responseType.none,
  };
  await connection.send(connection.encode(encodeResponseHeader(header, version)));
}

/**
 * Sends what a handler answered; a transfer to its end, and it is closed whatever happens.
 * @returns what kept a stream from being sent whole, told to the peer; otherwise null
 * @throws SnapferryError before anything was sent, if it cannot be encoded; or what broke the connection
 */
export async function sendAnswer(
  connection: Connection,
  { header: { id }, abort }: Incoming,
  request: RequestInProgress,
  answer: Answer,
): Promise<SnapferryError | null> {
  // News that came behind the answer would pass for news of the next request.
  const over = (): void => void (request.isOver = true);
  if (answer.kind === 'ok') {
    over();
    await sendOk(connection, id);
    return null;
  }
  if (answer.kind === 'body') {
    // Encoded before anything is sent: what cannot be encoded is an error, not an empty message.
    const bytes = connection.encode(encodeResponseHeader(headerOf(id, answer.type), connection.version), answer.body);
    over();
    await connection.send(bytes);
    return null;
  }
  const { format, estimatedBytes, resumed, bytes } = answer.transfer;
  const fields = { ...headerOf(id, responseType.chunkedStream), streamFormat: format, estimatedBytes, resumed };
  try {
    await connection.send(connection.encode(encodeResponseHeader(fields, connection.version)));
  } catch (error) {
    await closeUnused(answer);
    throw error;
  }
  try {
    await sendStream(connection, bytes, abort.signal, over);
    return null;
  } catch (error) {
    connection.logger.warn({ err: error, request: request.name }, 'a transfer failed');
    // Told in the trailer; where it could not be, the connection is dead.
    if (connection.failure !== null) throw connection.failure;
    return toSnapferryError(error);
  }
}

/** Closes a transfer nobody will read, or its child would live on. */
export async function closeUnused(answer: Answer): Promise<void> {
  if (answer.kind !== 'stream') return;
  try {
    await answer.transfer.bytes[Symbol.asyncIterator]().return?.();
  } catch {
    // Whoever would care has left.
  }
}
