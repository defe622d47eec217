import { expect } from 'vitest';
import type { RPCHandler } from '../../src/rpc/interfaces.ts';
import { controlOf } from './scripted-peer.ts';
import { idOf, nextJSON, request, scriptedRequester } from './scripted-session.ts';
import { filesystem, sessionHandler } from './session.ts';

/** A FilesystemVersions with this id. */
export const versions = (id: number): Buffer => request(0x11, idOf(id), { Filesystem: filesystem });
/** A Filesystems with this id. */
export const filesystems = (id: number): Buffer => request(0x10, idOf(id), { Roots: null });
/** A Cancel for this id. */
export const cancel = (id: number): Buffer => controlOf({ Cancel: idOf(id) });

/** Our server in version 2 with a scripted requester; some of its handler's calls are other than usual. */
export async function session(changes: Partial<RPCHandler> = {}, limits = {}) {
  const handler = { ...sessionHandler([]), ...changes };
  const { peer, served } = await scriptedRequester({ clientIdentity: 'tester', handler, limits });
  const expectInService = async (): Promise<void> => {
    peer.send(versions(99));
    expect(await nextJSON(peer)).toMatchObject({ RequestId: idOf(99), ErrorId: 0 });
    expect(await nextJSON(peer)).toHaveLength(2);
  };
  return { peer, served, expectInService };
}
