import { makeAuthority, opensslMissing } from '../test/support/certificates.ts';
import { loopback, type Carrier, type Credentials, type EndOptions } from './ends/end-options.ts';
import {
  cheaper,
  faster,
  kibibyte,
  measureTransfer,
  mebibyte,
  gibibyte,
  transferCost,
  transferFigures,
} from './measure-transfer.ts';
import type { Comparison, Contender, Contest, Question, Settings } from './question.ts';

type Manner = Pick<EndOptions, 'talk' | 'version' | 'digest'> & { readonly blockBytes?: number };

/** The names are what the report shows. */
const rpc1 = 'version 1';
const rpc2 = 'version 2, no digest';
const rpc2Digest = 'version 2, xxh64';
const plain = 'stream.pipeline';
const tuned = 'tuned raw copy';
const tunedDigest = 'tuned raw copy, xxh64 in both';
const tunedSmall = 'tuned raw copy in 32 KiB';

const manners: Readonly<Record<string, Manner>> = {
  [rpc2]: { talk: 'rpc', version: 2, digest: false },
  [rpc2Digest]: { talk: 'rpc', version: 2, digest: true },
  [rpc1]: { talk: 'rpc', version: 1, digest: false },
  [plain]: { talk: 'pipeline', version: 2, digest: false },
  [tuned]: { talk: 'onread', version: 2, digest: false },
  [tunedDigest]: { talk: 'onread', version: 2, digest: true },
  [tunedSmall]: { talk: 'onread', version: 2, digest: false, blockBytes: 32 * kibibyte },
};

/** What the framing, the digest and the async iterators cost beside a copy that does without them. */
export const transfer: Question = {
  name: 'transfer',
  async ask(settings) {
    const credentials = opensslMissing === null ? await makeCredentials() : null;
    if (credentials === null) process.stderr.write(`TLS is left out: ${opensslMissing ?? ''}\n`);
    const every: [Carrier, number][] = [
      ['unix', 64 * kibibyte],
      ['unix', mebibyte],
      ['stdio', 64 * kibibyte],
      ['stdio', mebibyte],
      ['tcp', 64 * kibibyte],
      ['tcp', mebibyte],
      ...(credentials === null
        ? []
        : ([
            ['tls', 64 * kibibyte],
            ['tls', mebibyte],
          ] as [Carrier, number][])),
    ];
    // Each carrier and each size once is enough to see that it runs.
    const chosen = settings.quick ? every.filter((_, index) => [0, 3, 4, 6].includes(index)) : every;
    const contests = chosen.map(([carrier, blockBytes]) => contest(settings, carrier, blockBytes, credentials));
    return { contests };
  },
};

function contest(settings: Settings, carrier: Carrier, blockBytes: number, credentials: Credentials | null): Contest {
  const units = settings.quick ? 16 * mebibyte : carrier === 'tls' ? gibibyte : 2 * gibibyte;
  const subject = `transfer over ${carrier}, blocks of ${blockBytes / kibibyte} KiB`;
  const names = Object.keys(manners).filter((name) => isWanted(name, carrier, settings.quick));
  return {
    subject,
    extent: `${units / mebibyte} MiB`,
    figures: transferFigures,
    costFigure: transferCost,
    notes: [
      'a block is one preallocated buffer; the receiver only counts; "asking" and "answering" are the ends\' shares of CPU s/GiB',
      'the tuned raw copy writes whenever the socket takes more, and reads into one static buffer',
    ],
    contenders: names.map((name): Contender => {
      const options = { carrier, blockBytes, units, ...(credentials !== null && { credentials }), ...manners[name]! };
      return { name, run: () => measureTransfer(settings, `${subject} ${name}`, options) };
    }),
    comparisons: comparisons(carrier, blockBytes),
  };
}

function isWanted(name: string, carrier: Carrier, quick: boolean): boolean {
  const isNetwork = carrier === 'tcp' || carrier === 'tls';
  if (quick && carrier !== 'unix') return name === rpc2 || name === tuned;
  return !isNetwork || ![rpc1, plain, tunedSmall].includes(name);
}

function comparisons(carrier: Carrier, blockBytes: number): Comparison[] {
  const ofTuned = carrier === 'tcp' || carrier === 'tls' ? 0.9 : blockBytes < mebibyte ? 0.95 : 0.8;
  return [
    faster(rpc2, tuned, ofTuned),
    faster(rpc2Digest, tunedDigest, ofTuned),
    faster(rpc1, tunedSmall, 1),
    faster(rpc2, plain, 1.3),
    faster(rpc2Digest, plain, null),
    faster(rpc1, plain, null),
    cheaper(rpc2, tuned, 1.15),
    cheaper(rpc2Digest, tunedDigest, 1.15),
    cheaper(rpc1, tunedSmall, 1.15),
  ];
}

async function makeCredentials(): Promise<Credentials> {
  const authority = await makeAuthority();
  try {
    return { ca: authority.cert, ...(await authority.issue('/CN=bench', `IP:${loopback}`)) };
  } finally {
    await authority.remove();
  }
}
