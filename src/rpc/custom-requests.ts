import { parseJSON, stringifyJSON, type JSONInput, type JSONValue } from '../chunker/json-message.ts';
import { defaultLimits } from '../limits.ts';
import type * as api from './interfaces.ts';
import { customRequestTypes } from './protocol.ts';

/** What a {@link customCall} is made of: as {@link api.CustomCall}, with an upload only if it says so. */
export type CustomCallDefinition<Request extends JSONInput, A extends api.AnswerShape> = Omit<
  api.CustomCall<Request, A>,
  'upload'
> & { readonly upload?: boolean };

/**
 * Defines a request type of an embedding program's own, for both ends: the asking side hands it to
 * `RPCRequester.request`, the answering side to {@link answerCustom}. Requests travel as the JSON they are.
 * @throws RangeError for a number outside 0x80 to 0xef, where the protocol's own requests are, or a name nobody can read
 */
export function customCall<Request extends JSONInput, const A extends api.AnswerShape>(
  definition: CustomCallDefinition<Request, A>,
): api.CustomCall<Request, A> {
  const { type, name } = definition;
  const { first, last } = customRequestTypes;
  if (!Number.isInteger(type) || type < first || type > last) {
    const range = `0x${first.toString(16)} to 0x${last.toString(16)}`;
    throw new RangeError(`custom request ${JSON.stringify(name)}: its type must be from ${range}`);
  }
  if (!/^[\w.:-]{1,64}$/.test(name)) {
    throw new RangeError(
      `the name of custom request 0x${type.toString(16)} must be 1 to 64 letters, digits or any of _.:-`,
    );
  }
  return { upload: false, ...definition };
}

/**
 * Answers a custom call on the side that is asked: an entry of `RPCHandler.custom`.
 * @param handle gets what the body means, and the upload, which is whole or a throw; empty for a call without. Its pieces
 *   are lent until the next is asked for: what is kept, or sent on, is copied. What is not read is thrown away
 */
export function answerCustom<Request extends JSONInput, A extends api.AnswerShape>(
  call: api.CustomCall<Request, A>,
  handle: (
    request: Request,
    context: api.RequestContext,
    upload: Parameters<api.PreparedCustomRequest['handle']>[1],
  ) => Promise<api.AnswerOf<A>>,
): api.CustomRequest {
  const { type, name, upload, answer } = call;
  return {
    type,
    name,
    upload,
    prepare(body) {
      const request = shaped(call.request, body);
      return {
        short: () => call.describe?.(request) ?? '',
        async handle(context, stream) {
          const value: unknown = await handle(request, context, stream);
          if (answer === 'ok') return { kind: 'ok' };
          if (answer === 'stream') return { kind: 'stream', transfer: value as api.Transfer };
          return { kind: 'json', body: value as JSONInput };
        },
      };
    },
  };
}

/**
 * The custom requests of a handler by number.
 * @throws RangeError for two of one number, or one in the range of the protocol's own
 */
export function customRequestsOf(handler: api.RPCHandler): ReadonlyMap<number, api.CustomRequest> {
  const byType = new Map<number, api.CustomRequest>();
  for (const request of handler.custom ?? []) {
    const { type, name } = request;
    const other = byType.get(type);
    if (other !== undefined) throw new RangeError(`custom requests ${other.name} and ${name} have the same type`);
    if (type < customRequestTypes.first || type > customRequestTypes.last) {
      throw new RangeError(`custom request ${name}: type 0x${type.toString(16)} is the protocol's own`);
    }
    byType.set(type, request);
  }
  return byType;
}

/** What a value stands for. */
export function shaped<T>(shape: api.Shape<T>, value: unknown): T {
  return typeof shape === 'function' ? shape(value) : shape.parse(value);
}

/** The value as the other end of a wire would get it. */
export function overTheWire(value: JSONInput): JSONValue {
  return parseJSON(stringifyJSON(value), defaultLimits.jsonDepthMax);
}
