import type { AskingOptions, Carrier, EndOptions } from './ends/end-options.ts';
import type { Comparison, Contender, Contest, Figure, Question, Sample, Settings } from './question.ts';
import { runEnds } from './run-ends.ts';

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;
const gibibyte = 1024 * mebibyte;

const figures: readonly Figure[] = [
  { name: 'MB/s', better: 'more', digits: 0 },
  { name: 'CPU s/GiB', better: 'less', digits: 3 },
  { name: 'asking', better: 'less', digits: 3 },
  { name: 'answering', better: 'less', digits: 3 },
  { name: 'RSS MiB', better: 'less', digits: 0 },
];

type Manner = Pick<EndOptions, 'talk' | 'version' | 'digest'> & { readonly blockBytes?: number };

/** The names are what the report shows. */
const rpc1 = 'RPC version 1';
const rpc2 = 'RPC version 2, no digest';
const rpc2Digest = 'RPC version 2, xxh64';
const plain = "raw to 'data'";
const tuned = 'raw to onread';
const tunedDigest = 'raw to onread, xxh64 in both';
const tunedSmall = 'raw to onread, writes of 32 KiB';

const manners: Readonly<Record<string, Manner>> = {
  [rpc2]: { talk: 'rpc', version: 2, digest: false },
  [rpc2Digest]: { talk: 'rpc', version: 2, digest: true },
  [rpc1]: { talk: 'rpc', version: 1, digest: false },
  [plain]: { talk: 'raw', version: 2, digest: false },
  [tuned]: { talk: 'onread', version: 2, digest: false },
  [tunedDigest]: { talk: 'onread', version: 2, digest: true },
  [tunedSmall]: { talk: 'onread', version: 2, digest: false, blockBytes: 32 * kibibyte },
};

/** What the framing, the digest and the async iterators cost beside a copy that does without them. */
export const transfer: Question = {
  name: 'transfer',
  contests: (settings) => {
    const every: [Carrier, number][] = [
      ['unix', 64 * kibibyte],
      ['unix', mebibyte],
      ['stdio', 64 * kibibyte],
      ['stdio', mebibyte],
      ['tcp', 64 * kibibyte],
      ['tcp', mebibyte],
    ];
    // Each carrier and each size once is enough to see that it runs.
    const chosen = settings.quick ? every.filter((_, index) => [0, 3, 4].includes(index)) : every;
    return Promise.resolve(chosen.map(([carrier, blockBytes]) => contest(settings, carrier, blockBytes)));
  },
};

function contest(settings: Settings, carrier: Carrier, blockBytes: number): Contest {
  const bytes = settings.quick ? 16 * mebibyte : 2 * gibibyte;
  const title = `transfer over ${carrier}, source blocks of ${blockBytes / kibibyte} KiB, ${bytes / mebibyte} MiB`;
  return {
    title,
    figures,
    notes: [
      'a block is one preallocated buffer; the receiver only counts; "asking" and "answering" are the ends\' shares of CPU s/GiB',
      "raw to 'data' is what users of stream.pipeline get, raw to onread reads into one static buffer",
    ],
    contenders: Object.entries(manners).map(([name, manner]): Contender => {
      const run = (): Promise<Sample> =>
        measure(settings, `${title} ${name}`, {
          carrier,
          blockBytes,
          ...manner,
          measure: 'transfer',
          warmUpUnits: bytes / 8,
          units: bytes,
        });
      return { name, run };
    }),
    comparisons: comparisons(carrier, blockBytes),
  };
}

async function measure(
  settings: Settings,
  name: string,
  options: Omit<AskingOptions, 'socketPath' | 'profileFolder'>,
): Promise<Sample> {
  const { seconds, asking, answering } = await runEnds(settings, name, options);
  const perGibibyte = (cpuMicros: number): number => cpuMicros / 1e6 / (options.units / gibibyte);
  return {
    'MB/s': options.units / 1e6 / seconds,
    'CPU s/GiB': perGibibyte(asking.cpuMicros + answering.cpuMicros),
    asking: perGibibyte(asking.cpuMicros),
    answering: perGibibyte(answering.cpuMicros),
    'RSS MiB': Math.max(asking.residentKibMax, answering.residentKibMax) / kibibyte,
  };
}

function comparisons(carrier: Carrier, blockBytes: number): Comparison[] {
  const ofTuned = carrier === 'tcp' ? 0.9 : blockBytes < mebibyte ? 0.95 : 0.8;
  const speed = (contender: string, against: string, mustReach: number | null): Comparison => ({
    contender,
    against,
    figure: 'MB/s',
    mustReach,
  });
  const cpu = (contender: string, against: string): Comparison => ({
    contender,
    against,
    figure: 'CPU s/GiB',
    mustReach: 1.15,
  });
  return [
    speed(rpc2, tuned, ofTuned),
    speed(rpc2Digest, tunedDigest, ofTuned),
    speed(rpc1, tunedSmall, 1),
    speed(rpc2, plain, 1.3),
    speed(rpc2Digest, plain, null),
    speed(rpc1, plain, null),
    cpu(rpc2, tuned),
    cpu(rpc2Digest, tunedDigest),
    cpu(rpc1, tunedSmall),
  ];
}
