import type { JSONInput } from '../chunker/json-message.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { TransferBytes } from '../sink.ts';
import { linkAborts } from './aborting.ts';
import { noBytes, shapedAnswer } from './custom-calls.ts';
import { overTheWire } from './custom-requests.ts';
import { undecodable } from './fields.ts';
import type * as api from './interfaces.ts';
import { LocalStream } from './local-stream.ts';

/** A custom call within this process. */
export interface LocalCustomCall {
  readonly call: api.CustomCall;
  readonly request: JSONInput;
  /** Undefined for none. */
  readonly upload: TransferBytes | undefined;
  /** What the handler answers, by number. */
  readonly custom: ReadonlyMap<number, api.CustomRequest>;
}

/**
 * Has a handler answer a custom call as over a wire: body and answer pass through JSON, the upload is whole or a throw and
 * is closed when the answer is there, or, if that is a stream, when the stream is over.
 */
export async function answerLocally(asked: LocalCustomCall, context: api.RequestContext): Promise<api.CustomAnswer> {
  const { call, request, custom, upload = noBytes() } = asked;
  const abort = new AbortController();
  const unlink = linkAborts([context.signal], abort, call.name);
  let failure: unknown = null;
  const source = watched(upload, { onFailed: (error) => (failure = error) });
  const uploaded = new LocalStream(source, { doing: `upload of ${call.name}`, abort, onSettled: unlink });
  const close = (): void => void uploaded.return();
  try {
    const entry = custom.get(call.type);
    if (entry === undefined) throw new SnapferryError('UNKNOWN_REQUEST', `${call.name} is not known here`);
    if (entry.upload !== call.upload) {
      throw new SnapferryError('INVALID_REQUEST', `${call.name} comes ${entry.upload ? 'with' : 'without'} an upload`);
    }
    const prepared = prepare(entry, request);
    const answer = await prepared.handle(context, uploaded);
    if (answer.kind !== 'stream') {
      close();
      return answer;
    }
    return {
      kind: 'stream',
      transfer: { ...answer.transfer, bytes: watched(answer.transfer.bytes, { onOver: close }) },
    };
  } catch (error) {
    close();
    // What the handler says of an upload that failed is only an echo.
    throw failure === null ? error : toSnapferryError(failure, 'SOURCE_FAILED', 'the upload');
  }
}

/** The value of an answer, as the caller's definition has it. */
export function localValue(call: api.CustomCall, answer: api.CustomAnswer): unknown {
  if (call.answer === 'ok' && answer.kind === 'ok') return undefined;
  if (typeof call.answer !== 'string' && answer.kind === 'json') {
    return shapedAnswer(call.answer, overTheWire(answer.body), call.name);
  }
  throw new SnapferryError('PROTOCOL_VIOLATION', `${call.name}: the answer is of another kind`, {
    connectionDead: false,
  });
}

/** The transfer in an answer. */
export function streamOf(answer: api.CustomAnswer, name: string): api.Transfer {
  if (answer.kind === 'stream') return answer.transfer;
  throw new SnapferryError('PROTOCOL_VIOLATION', `${name}: the answer is no stream`, { connectionDead: false });
}

/** Closes the upload also of a call that never reached its handler. */
export async function closedOnFailure<T>(call: Promise<T>, upload: TransferBytes | undefined): Promise<T> {
  try {
    return await call;
  } catch (error) {
    await Promise.resolve(upload?.[Symbol.asyncIterator]().return?.()).catch(() => undefined);
    throw error;
  }
}

function prepare(entry: api.CustomRequest, request: JSONInput): api.PreparedCustomRequest {
  const value = overTheWire(request);
  try {
    return entry.prepare(value);
  } catch (cause) {
    throw undecodable(cause);
  }
}

interface StreamWatch {
  readonly onFailed?: (error: unknown) => void;
  /** Read to the end, failed, or left. */
  readonly onOver?: () => void;
}

/** The same bytes, with news of their end. No generator: one that was never begun would not tell. */
function watched(bytes: TransferBytes, { onFailed, onOver }: StreamWatch): TransferBytes {
  const iterator = bytes[Symbol.asyncIterator]();
  return {
    [Symbol.asyncIterator]: () => ({
      async next() {
        try {
          const next = await iterator.next();
          if (next.done === true) onOver?.();
          return next;
        } catch (error) {
          onFailed?.(error);
          onOver?.();
          throw error;
        }
      },
      async return() {
        onOver?.();
        await iterator.return?.();
        return { done: true, value: undefined };
      },
    }),
  };
}
