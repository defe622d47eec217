import type { EndOptions } from './ends/end-options.ts';
import {
  faster,
  gibibyte,
  kibibyte,
  measureTransfer,
  mebibyte,
  transferCost,
  transferFigures,
} from './measure-transfer.ts';
import type { Question } from './question.ts';

const rpc = 'version 2, no digest';
const rpcDigest = 'version 2, xxh64';

/** How many times as fast as a library we must be, without a digest and with the default one. */
interface Wanted {
  readonly name: string;
  readonly talk: EndOptions['talk'];
  readonly times: number;
  readonly timesWithDigest: number;
}

const libraries: readonly Wanted[] = [
  { name: 'grpc-js server stream', talk: 'grpc', times: 5, timesWithDigest: 3 },
  { name: 'http2', talk: 'http2', times: 3, timesWithDigest: 2 },
  { name: 'ws', talk: 'ws', times: 2, timesWithDigest: 1.3 },
  { name: 'it-length-prefixed', talk: 'length-prefixed', times: 2, timesWithDigest: 1.3 },
  { name: 'libp2p yamux', talk: 'yamux', times: 5, timesWithDigest: 3 },
];

const blockBytes = 64 * kibibyte;

/** Other libraries that carry bytes in frames, set to the same transfer. */
export const otherLibraries: Question = {
  name: 'libraries',
  ask(settings) {
    const units = settings.quick ? 16 * mebibyte : 2 * gibibyte;
    const subject = `transfer over unix beside other libraries, blocks of ${blockBytes / kibibyte} KiB`;
    const run = (name: string, talk: EndOptions['talk'], digest: boolean) => () =>
      measureTransfer(settings, `${subject} ${name}`, { carrier: 'unix', talk, version: 2, digest, blockBytes, units });
    return Promise.resolve({
      contests: [
        {
          subject,
          extent: `${units / mebibyte} MiB`,
          figures: transferFigures,
          costFigure: transferCost,
          notes: ['a block is a message or a write; the libraries compute no digest; ws does not compress'],
          contenders: [
            { name: rpc, run: run(rpc, 'rpc', false) },
            { name: rpcDigest, run: run(rpcDigest, 'rpc', true) },
            ...libraries.map(({ name, talk }) => ({ name, run: run(name, talk, false) })),
          ],
          comparisons: [
            ...libraries.map(({ name, times }) => faster(rpc, name, times)),
            ...libraries.map(({ name, timesWithDigest }) => faster(rpcDigest, name, timesWithDigest)),
          ],
        },
      ],
    });
  },
};
