import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { Connection } from './connection.ts';
import { shaped } from './custom-requests.ts';
import { expectType, readBody, type Exchange } from './exchanges.ts';
import type { Shape } from './interfaces.ts';
import type { ResponseHeader } from './messages.ts';
import { responseType } from './protocol.ts';

/**
 * Reads the body that answers a custom call. What it does not mean to this program is the program's own concern: the
 * connection is in step.
 * @throws SnapferryError `PROTOCOL_VIOLATION` for an answer of another shape
 */
export async function readShaped<T>(
  header: ResponseHeader,
  exchange: Exchange,
  { connection, shape }: { readonly connection: Connection; readonly shape: Shape<T> },
): Promise<T> {
  expectType(header, responseType.json, exchange);
  const value = await readBody(connection, exchange, (body) => body);
  return shapedAnswer(shape, value, exchange.doing);
}

/** The value of an answer, or the error for one of another shape. */
export function shapedAnswer<T>(shape: Shape<T>, value: unknown, doing: string): T {
  try {
    return shaped(shape, value);
  } catch (cause) {
    const why = `${doing}: the answer is not what it should be: ${toSnapferryError(cause).message}`;
    throw new SnapferryError('PROTOCOL_VIOLATION', why, { cause, connectionDead: false });
  }
}

/** What a peer of 2017 cannot be asked. */
export function unknownInVersion1(name: string): SnapferryError {
  return new SnapferryError('UNKNOWN_REQUEST', `${name}: the peer speaks protocol version 1, which does not have it`);
}

/** The upload of a call that was given none. */
// eslint-disable-next-line @typescript-eslint/require-await -- an empty stream has nothing to wait for
export async function* noBytes(): AsyncGenerator<Uint8Array> {
  yield* [];
}
