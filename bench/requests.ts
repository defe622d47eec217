import type { Carrier, EndOptions } from './ends/end-options.ts';
import type { Comparison, Contest, Figure, Question, Sample, Settings } from './question.ts';
import { runEnds } from './run-ends.ts';

const figures: readonly Figure[] = [
  { name: 'calls/s', better: 'more', digits: 0 },
  { name: 'CPU µs/call', better: 'less', digits: 1 },
  { name: 'asking', better: 'less', digits: 1 },
  { name: 'answering', better: 'less', digits: 1 },
];

type Manner = Pick<EndOptions, 'talk' | 'version' | 'digest'>;

const echo = 'JSON values on lines';
const manners: Readonly<Record<string, Manner>> = {
  'RPC version 2': { talk: 'rpc', version: 2, digest: false },
  'RPC version 1': { talk: 'rpc', version: 1, digest: false },
  [echo]: { talk: 'raw', version: 2, digest: false },
};

/** How many small calls one after the other: planning many datasets is made of these. */
export const requests: Question = {
  name: 'requests',
  contests: (settings) => Promise.resolve((['unix', 'stdio'] as const).map((carrier) => contest(settings, carrier))),
};

function contest(settings: Settings, carrier: Carrier): Contest {
  const calls = settings.quick ? 200 : 50_000;
  const title = `sequential FilesystemVersions calls over ${carrier}, three versions each, ${calls} calls`;
  const run = async (name: string, manner: Manner): Promise<Sample> => {
    const { seconds, asking, answering } = await runEnds(settings, `${title} ${name}`, {
      carrier,
      ...manner,
      blockBytes: 0,
      measure: 'requests',
      warmUpUnits: calls / 10,
      units: calls,
    });
    return {
      'calls/s': calls / seconds,
      'CPU µs/call': (asking.cpuMicros + answering.cpuMicros) / calls,
      asking: asking.cpuMicros / calls,
      answering: answering.cpuMicros / calls,
    };
  };
  const names = Object.keys(manners).filter((name) => name !== echo);
  return {
    title,
    figures,
    notes: ['"JSON values on lines" is JSON.parse and JSON.stringify over the same carrier, and nothing else'],
    contenders: Object.entries(manners).map(([name, manner]) => ({ name, run: () => run(name, manner) })),
    comparisons: names.map((contender): Comparison => ({
      contender,
      against: echo,
      figure: 'calls/s',
      mustReach: null,
    })),
  };
}
