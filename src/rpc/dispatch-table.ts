import type { JSONInput, JSONValue } from '../chunker/json-message.ts';
import { SnapferryError } from '../errors.ts';
import { calls, type Call } from './call-table.ts';
import type { TransferBytes } from '../sink.ts';
import { customRequestsOf } from './custom-requests.ts';
import type { Fields } from './fields.ts';
import type { CustomRequest, RequestContext, RPCHandler, Transfer } from './interfaces.ts';
import { encodeVersion } from './messages.ts';
import { requestName, requestType, responseType } from './protocol.ts';

/** What a handler's result becomes on the wire. */
export type Answer =
  | { readonly kind: 'ok' }
  | { readonly kind: 'body'; readonly type: number; readonly body: JSONInput }
  | { readonly kind: 'stream'; readonly transfer: Transfer };

/** Hands a request to the handler. */
export type Handle = (context: RequestContext, upload: TransferBytes) => Promise<Answer>;

/** The body of a request as it was read. */
export interface RequestBody {
  readonly value: JSONValue;
  /** The same as an object; without any fields for a custom request, which may be any JSON. */
  readonly fields: Fields;
}

/** One request, decoded and ready to be handed to the handler. */
export interface Prepared {
  /** What it is about, for a line of the log; the words are the peer's. */
  readonly short: () => string;
  readonly handle: Handle;
}

type Prepare = (handler: RPCHandler, body: Fields, version: 1 | 2) => Prepared;

function entry<Request>(
  call: Call<Request>,
  answer: (handler: RPCHandler, request: Request, context: RequestContext) => Promise<Answer>,
): [number, Prepare] {
  const prepare: Prepare = (handler, body, version) => {
    const request = call.decode(body, version);
    return { short: () => call.short(request), handle: (context) => answer(handler, request, context) };
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

/** What one handler can be asked: the protocol's own requests, and those of the embedding program. */
export class RequestTable {
  readonly #handler: RPCHandler;
  readonly #custom: ReadonlyMap<number, CustomRequest>;

  /** @throws RangeError for custom requests that contradict each other or the protocol */
  constructor(handler: RPCHandler) {
    this.#handler = handler;
    this.#custom = customRequestsOf(handler);
  }

  /** Whether a request type is known in this version of the protocol. */
  isKnown(type: number, version: 1 | 2): boolean {
    if (table.has(type) || connectionRequests.has(type)) return true;
    return version === 2 && (type === requestType.upgrade || this.#custom.has(type));
  }

  /** Whether it is one of the embedding program's, whose body may be any JSON. */
  isCustom(type: number): boolean {
    return this.#custom.has(type);
  }

  /** Name of a request type for logs and errors. */
  nameOf(type: number): string {
    return this.#custom.get(type)?.name ?? requestName(type);
  }

  /**
   * Decodes the body of a request.
   * @throws what the request's type says of a body that is not its own
   */
  prepare(type: number, body: RequestBody, hasUpload: boolean, version: 1 | 2): Prepared {
    const custom = this.#custom.get(type);
    if (hasUpload !== (custom?.upload ?? false)) {
      const what = `${this.nameOf(type)} comes ${hasUpload ? 'without' : 'with'} an upload`;
      throw new SnapferryError('INVALID_REQUEST', what);
    }
    if (custom !== undefined) return prepareCustom(custom, body.value);
    const prepare = table.get(type);
    if (prepare === undefined) throw new SnapferryError('UNKNOWN_REQUEST', `${requestName(type)} is not known here`);
    return prepare(this.#handler, body.fields, version);
  }
}

function prepareCustom(custom: CustomRequest, body: JSONValue): Prepared {
  const prepared = custom.prepare(body);
  return {
    short: () => prepared.short(),
    async handle(context, upload) {
      const answer = await prepared.handle(context, upload);
      return answer.kind === 'json' ? { kind: 'body', type: responseType.json, body: answer.body } : answer;
    },
  };
}

/**
 * Every request type that a handler can be asked, with the name it has in logs, in the order of its number.
 * @throws RangeError for custom requests that contradict each other or the protocol
 */
export function listRequests(handler: RPCHandler): { readonly type: number; readonly name: string }[] {
  const types = [...Object.values(requestType), ...customRequestsOf(handler).keys()].sort((a, b) => a - b);
  const known = new RequestTable(handler);
  return types.map((type) => ({ type, name: known.nameOf(type) }));
}
