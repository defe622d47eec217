import type { Readable, Writable } from 'node:stream';
import xxhash from 'xxhash-wasm';
import { usageNow, type EndOptions, type Usage } from './end-options.ts';
import { lineSplitter } from './line-splitter.ts';
import { dataset, requireBytes, versions, type AskingTalk } from './talk.ts';

/**
 * What the comparisons speak: commands on lines one way; bare bytes, or a JSON value on a line, the other way. One command at a
 * time, so that no byte says what it is. The request is what an application without a library would write first.
 */
type Command =
  { readonly ask: 'bytes'; readonly bytes: number } | { readonly ask: 'versions' | 'usage'; readonly of?: unknown };

interface WireVersion {
  readonly type: string;
  readonly name: string;
  readonly guid: string;
  readonly createTXG: string;
  readonly creation: string;
}

const wireVersions: WireVersion[] = versions.map((version) => ({
  ...version,
  guid: version.guid.toString(),
  createTXG: version.createTXG.toString(),
}));

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
  let fail: (error: Error) => void = () => undefined;
  carrier.onEnd = () => fail(new Error('the other end is gone'));
  const asking = <T>(command: Command, start: (resolve: (value: T) => void) => (bytes: Buffer) => void): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      fail = reject;
      carrier.onBytes = start(resolve);
      carrier.writable.write(`${JSON.stringify(command)}\n`);
    });
  const value = (command: Command): Promise<unknown> =>
    asking<unknown>(command, (resolve) => lineSplitter((line) => resolve(JSON.parse(line))));
  return {
    async transfer(bytes) {
      const hash = options.digest ? hasher.create64() : null;
      let received = 0;
      await asking<undefined>({ ask: 'bytes', bytes }, (resolve) => (piece) => {
        hash?.update(piece);
        received += piece.byteLength;
        if (received >= bytes) resolve(undefined);
      });
      hash?.digest();
      requireBytes(received, bytes);
    },
    async request() {
      const answer = (await value({ ask: 'versions', of: dataset })) as WireVersion[];
      requireBytes(answer.length, versions.length);
    },
    usage: async () => (await value({ ask: 'usage' })) as Usage,
    close: () => carrier.close(),
  };
}

/** Answers {@link askRaw} until the other end has ended its direction. */
export async function answerRaw(readable: Readable, writable: Writable, options: EndOptions): Promise<void> {
  const hasher = await xxhash();
  const block = Buffer.alloc(options.blockBytes, 0x5a);
  const sendBytes = (bytes: number): void => {
    const hash = options.digest ? hasher.create64() : null;
    let left = bytes;
    const more = (): void => {
      while (left > 0) {
        const piece = left < block.byteLength ? block.subarray(0, left) : block;
        left -= piece.byteLength;
        hash?.update(piece);
        if (!writable.write(piece)) {
          writable.once('drain', more);
          return;
        }
      }
      hash?.digest();
    };
    more();
  };
  const answer = lineSplitter((line) => {
    const command = JSON.parse(line) as Command;
    if (command.ask === 'bytes') sendBytes(command.bytes);
    else writable.write(`${JSON.stringify(command.ask === 'usage' ? usageNow() : wireVersions)}\n`);
  });
  readable.on('data', answer);
  await new Promise((resolve) => readable.once('end', resolve));
  writable.end();
}
