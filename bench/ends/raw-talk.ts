import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import xxhash from 'xxhash-wasm';
import { blocks, writeBlocks } from './blocks.ts';
import type { EndOptions, Usage } from './end-options.ts';
import { lineSplitter } from './line-splitter.ts';
import { answerTo, requireBytes, requireVersions, versionsCommand, type AskingTalk, type Command } from './talk.ts';

// What the comparisons speak: commands on lines one way; bare bytes, or a JSON value on a line, the other way. One command at
// a time, so that no byte says what it is. The request is what an application without a library would write first.

/** The carrier as the asking end sees it; bytes from the other end are lent for the call of `onBytes`. */
export interface RawCarrier {
  readonly writable: Writable;
  /** Set by whoever is interested. */
  onBytes: (bytes: Buffer) => void;
  /** Ends this side's direction, and resolves when the other end's process is gone. */
  close(): Promise<void>;
  /** Called when the connection ends, in order or not. */
  onEnd: () => void;
}

/** Asks with as little as possible between the carrier and the counter. */
export async function askRaw(carrier: RawCarrier, options: EndOptions): Promise<AskingTalk> {
  const hasher = await xxhash();
  const send = (command: Command): boolean => carrier.writable.write(`${JSON.stringify(command)}\n`);
  const value = async (command: Command): Promise<unknown> => {
    const answer = receiving<unknown>(carrier, (resolve) => lineSplitter((line) => resolve(JSON.parse(line))));
    send(command);
    return answer;
  };
  return {
    async transfer(bytes) {
      const hash = options.digest ? hasher.create64() : null;
      const received = counting(carrier, bytes, (piece) => hash?.update(piece));
      send({ ask: 'bytes', bytes });
      await received;
      hash?.digest();
    },
    request: async () => requireVersions(await value(versionsCommand)),
    usage: async () => (await value({ ask: 'usage' })) as Usage,
    close: () => carrier.close(),
  };
}

/** Resolves when so many bytes have come from now on, and looks at each piece; rejects if there were more, or too few. */
export async function counting(carrier: RawCarrier, bytes: number, look: (piece: Buffer) => void): Promise<void> {
  let received = 0;
  await receiving<undefined>(carrier, (resolve) => (piece) => {
    look(piece);
    received += piece.byteLength;
    if (received >= bytes) resolve(undefined);
  });
  requireBytes(received, bytes);
}

function receiving<T>(
  carrier: RawCarrier,
  start: (resolve: (value: T) => void) => (bytes: Buffer) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    carrier.onEnd = () => reject(new Error('the other end is gone'));
    carrier.onBytes = start(resolve);
  });
}

/** Answers {@link askRaw} until the other end has ended its direction. */
export async function answerRaw(readable: Readable, writable: Writable, options: EndOptions): Promise<void> {
  const hasher = await xxhash();
  const sendBytes = (bytes: number): void => {
    const source = blocks(bytes, options.blockBytes);
    if (options.talk === 'pipeline') {
      void pipeline(asReadable(source), writable, { end: false });
      return;
    }
    const hash = options.digest ? hasher.create64() : null;
    writeBlocks(hash === null ? source : seenBy(source, (block) => hash.update(block)), writable, () => hash?.digest());
  };
  const answer = lineSplitter((line) => {
    const command = JSON.parse(line) as Command;
    if (command.ask === 'bytes') sendBytes(command.bytes);
    else writable.write(`${JSON.stringify(answerTo(command))}\n`);
  });
  readable.on('data', answer);
  await new Promise((resolve) => readable.once('end', resolve));
  writable.end();
}

/** Cheaper than Readable.from, which knows nothing of the size of what it holds. */
function asReadable(source: Iterator<Buffer, void>): Readable {
  return new Readable({
    read() {
      const next = source.next();
      this.push(next.done === true ? null : next.value);
    },
  });
}

function* seenBy(source: Iterable<Buffer>, look: (block: Buffer) => void): Generator<Buffer, void, undefined> {
  for (const block of source) {
    look(block);
    yield block;
  }
}
