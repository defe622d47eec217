import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';

/** What a child prints that writes so many zeros, a block at a time as `zfs send` and `tar` do. */
export function sendingTool(bytes: number, blockBytes: number): [string, ...string[]] {
  // dd counts in blocks, except where it is told otherwise.
  return ['dd', 'if=/dev/zero', `bs=${blockBytes}`, `count=${bytes}`, 'iflag=count_bytes', 'status=none'];
}

/** A child that reads what it is given, and keeps nothing. */
export const receivingTool: [string, ...string[]] = ['dd', 'of=/dev/null', 'bs=128K', 'status=none'];

/** {@link sendingTool} started without anything in between. */
export function spawnSendingTool(bytes: number, blockBytes: number): ChildProcess & { readonly stdout: Readable } {
  const [program, ...args] = sendingTool(bytes, blockBytes);
  return spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** {@link receivingTool} started without anything in between. */
export function spawnReceivingTool(): ChildProcess & { readonly stdin: Writable } {
  const [program, ...args] = receivingTool;
  return spawn(program, args, { stdio: ['pipe', 'ignore', 'inherit'] });
}

/** Resolves when a tool has exited with success; rejects otherwise. To be called before anything else is awaited. */
export async function toolExit(tool: ChildProcess): Promise<void> {
  const [status, signal] = (await once(tool, 'exit')) as [number | null, string | null];
  if (status !== 0) throw new Error(`${tool.spawnfile} ended with ${signal ?? String(status)}`);
}
