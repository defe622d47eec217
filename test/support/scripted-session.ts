import { ByteStreamRPC, type ByteStreamRPCOptions, type ListenOptions } from '../../src/rpc/byte-stream-rpc.ts';
import type { SnapferryError } from '../../src/errors.ts';
import type { RPCRequester } from '../../src/rpc/interfaces.ts';
import { messageOf, scripted, type ScriptedPeer } from './scripted-peer.ts';

/** A request as a scripted responder sees it. */
export interface SeenRequest {
  readonly type: number;
  readonly id: number[];
  readonly body: Record<string, unknown>;
}

/** The next request of our side; null if the connection ends first. Control chunks must not be in between. */
export async function nextRequest(peer: ScriptedPeer): Promise<SeenRequest | null> {
  const header = await peer.message();
  const body = await peer.message();
  if (header === null || body === null) return null;
  const { Type: type, Id: id } = JSON.parse(header.payload.toString()) as { Type: number; Id: number[] };
  return { type, id, body: JSON.parse(body.payload.toString()) as Record<string, unknown> };
}

/** The header of an answer to `id`. */
export function answerTo(id: readonly number[], fields: object): Buffer {
  return messageOf({ RequestId: id, ErrorId: 0, Message: '', ...fields });
}

/** Our client in version 2, connected to a scripted responder. */
export async function scriptedResponder(
  options: ByteStreamRPCOptions = {},
  hello: object = { Digest: 'xxh64' },
): Promise<{ client: RPCRequester; peer: ScriptedPeer }> {
  const { stream, peer } = scripted();
  const connecting = ByteStreamRPC.connect(stream, { heartbeatMs: 60_000, ...options });
  const { id } = (await nextRequest(peer))!;
  peer.send(answerTo(id, { ResponseType: 1, Version: 2, HeartbeatMs: 1, ...hello }));
  return { client: await connecting, peer };
}

/** How listening ended: null in order. */
export type Ending = Promise<SnapferryError | null>;

/** Our server, greeted in version 2 by a scripted requester; the greeting's answer is given as JSON. */
export async function scriptedRequester(
  options: ListenOptions,
  hello: object = { ClientVersion: 1, MaxVersion: 2, HeartbeatMs: 1, Digests: ['xxh64'] },
): Promise<{ peer: ScriptedPeer; served: Ending; answer: Record<string, unknown> }> {
  const { stream, peer } = scripted();
  const served = ByteStreamRPC.listen(stream, { heartbeatMs: 60_000, ...options }).then(
    () => null,
    (error: unknown) => error as SnapferryError,
  );
  peer.send(request(1, idOf(1), hello));
  const message = await peer.message();
  return { peer, served, answer: JSON.parse(message?.payload.toString() ?? 'null') as Record<string, unknown> };
}

/** A request of a scripted requester. */
export function request(type: number, id: readonly number[], body: object): Buffer {
  return Buffer.concat([messageOf({ Type: type, Id: id }), messageOf(body)]);
}

/** An id that is easy to tell from others. */
export function idOf(number: number): number[] {
  return Array(16).fill(number) as number[];
}

/** The next message of our side as JSON; null if the connection ends first. */
export async function nextJSON(peer: ScriptedPeer): Promise<Record<string, unknown> | null> {
  const message = await peer.message();
  return message === null ? null : (JSON.parse(message.payload.toString()) as Record<string, unknown>);
}
