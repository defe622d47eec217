import type { JSONInput } from '../chunker/json-message.ts';
import { SnapferryError } from '../errors.ts';
import { calls, type Call } from './call-table.ts';
import type { Fields } from './fields.ts';
import type { RequestContext, RPCHandler, Transfer } from './interfaces.ts';
import { encodeVersion } from './messages.ts';
import { requestName, requestType, responseType } from './protocol.ts';

/** What a handler's result becomes on the wire. */
export type Answer =
  | { readonly kind: 'ok' }
  | { readonly kind: 'body'; readonly type: number; readonly body: JSONInput }
  | { readonly kind: 'stream'; readonly transfer: Transfer };

/** One request, decoded and ready to be handed to the handler. */
export type Handle = (context: RequestContext) => Promise<Answer>;

type Prepare = (handler: RPCHandler, body: Fields) => Handle;

function entry<Request>(
  call: Call<Request>,
  answer: (handler: RPCHandler, request: Request, context: RequestContext) => Promise<Answer>,
): [number, Prepare] {
  const prepare: Prepare = (handler, body) => {
    const request = call.decode(body);
    return (context) => answer(handler, request, context);
  };
  return [call.type, prepare];
}

const table = new Map<number, Prepare>([
  entry(calls.filesystems, async (handler, request, context) => {
    const body = await handler.filesystems(request, context);
    return { kind: 'body', type: responseType.filesystems, body };
  }),
  entry(calls.filesystemVersions, async (handler, request, context) => {
    const versions = await handler.filesystemVersions(request, context);
    return { kind: 'body', type: responseType.filesystemDiff, body: versions.map(encodeVersion) };
  }),
  entry(calls.initialTransfer, async (handler, request, context) => {
    return { kind: 'stream', transfer: await handler.initialTransfer(request, context) };
  }),
  entry(calls.incrementalTransfer, async (handler, request, context) => {
    return { kind: 'stream', transfer: await handler.incrementalTransfer(request, context) };
  }),
  entry(calls.transferEstimate, async (handler, request, context) => {
    const bytes = (await handler.transferEstimate?.(request, context)) ?? null;
    return { kind: 'body', type: responseType.json, body: { Bytes: bytes } };
  }),
  entry(calls.transferCompleted, async (handler, request, context) => {
    await handler.transferCompleted?.(request, context);
    return { kind: 'ok' };
  }),
]);

/** Requests the connection itself answers. */
const connectionRequests = new Set<number>([requestType.protocolVersion, requestType.pullMe, requestType.close]);

/** Whether a request type is known in this version of the protocol. */
export function isKnownRequest(type: number): boolean {
  return table.has(type) || connectionRequests.has(type);
}

/**
 * Decodes the body of a request for a handler.
 * @throws SnapferryError for a body that is not what the request's type says
 */
export function prepareHandle(type: number, handler: RPCHandler, body: Fields): Handle {
  const prepare = table.get(type);
  if (prepare === undefined) throw new SnapferryError('UNKNOWN_REQUEST', `${requestName(type)} is not known here`);
  return prepare(handler, body);
}
