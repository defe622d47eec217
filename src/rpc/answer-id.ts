import { SnapferryError } from '../errors.ts';
import type { ResponseHeader } from './messages.ts';
import { errorId } from './protocol.ts';

/**
 * Refuses an answer to another request. Zeros are what the Go implementation puts into errors, and into every answer when
 * it is asked with zeros.
 * @throws SnapferryError `PROTOCOL_VIOLATION`
 */
export function checkAnswerId(header: ResponseHeader, asked: { id: Uint8Array; doing: string }, version: 1 | 2): void {
  if (Buffer.compare(header.requestId, asked.id) === 0) return;
  const isZero = header.requestId.every((byte) => byte === 0);
  if (isZero && (header.errorId !== errorId.none || version === 1)) return;
  throw new SnapferryError('PROTOCOL_VIOLATION', `${asked.doing}: the answer belongs to another request`);
}
