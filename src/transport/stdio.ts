import { closeSync, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { SnapferryError } from '../errors.ts';
import type { ByteStream } from './byte-stream.ts';
import { nodeByteStream } from './node-streams.ts';

let taken = false;

/**
 * This process's own standard input and output as a byte stream: what a program run by ssh or by another process
 * speaks over. It can be taken once. From then on nothing else may write to standard output; logs go to standard error.
 * Writes are asynchronous, so await the close before `process.exit`.
 * @throws SnapferryError `INTERNAL` if it was taken before
 */
export function stdio(): ByteStream {
  if (taken) throw new SnapferryError('INTERNAL', 'standard input and output are in use as a byte stream already');
  taken = true;
  return nodeByteStream({ readable: process.stdin, writable: standardOutput(), description: 'stdio' });
}

/**
 * `process.stdout` will not do: it writes to pipes and sockets synchronously, so that two peers which both write would
 * block each other for ever, and it cannot be ended.
 */
function standardOutput(): Writable {
  const about = fstatSync(1);
  if (about.isSocket()) return new Socket({ fd: 1, readable: false, writable: true });
  if (about.isFIFO() && process.platform === 'linux') {
    return new Socket({ fd: ownPipe(), readable: false, writable: true });
  }
  return process.stdout;
}

/**
 * Descriptors 0 to 2 are never closed by Node, and a pipe ends only when its last writer closes it. So the pipe is
 * opened under a number of its own, and number 1 becomes /dev/null: a stray print can then not damage the protocol.
 */
function ownPipe(): number {
  const fd = openSync('/proc/self/fd/1', 'w');
  closeSync(1);
  openSync('/dev/null', 'w');
  return fd;
}
