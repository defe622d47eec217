import type { EndOptions } from './ends/end-options.ts';
import type { Comparison, Contest, Figure, Question, Sample, Settings } from './question.ts';
import { runEnds } from './run-ends.ts';

const figures: readonly Figure[] = [
  { name: 'calls/s', better: 'more', digits: 0 },
  { name: 'CPU µs/call', better: 'less', digits: 1 },
  { name: 'asking', better: 'less', digits: 1 },
  { name: 'answering', better: 'less', digits: 1 },
];

type Manner = Pick<EndOptions, 'carrier' | 'talk' | 'version'>;

const rpc2 = 'version 2';
const rpc1 = 'version 1';
const grpc = 'grpc-js unary over unix';
const jsonrpc = 'vscode-jsonrpc';
const lines = 'JSON values on lines';

/** How many small calls one after the other: planning many datasets is made of these. */
export const requests: Question = {
  name: 'requests',
  ask: (settings) =>
    Promise.resolve({ contests: (['unix', 'stdio'] as const).map((carrier) => contest(settings, carrier)) }),
};

function contest(settings: Settings, carrier: 'unix' | 'stdio'): Contest {
  const calls = settings.quick ? 200 : 50_000;
  const subject = `sequential FilesystemVersions over ${carrier}, three versions each`;
  const manners: readonly (Manner & { readonly name: string })[] = [
    { name: rpc2, carrier, talk: 'rpc', version: 2 },
    { name: rpc1, carrier, talk: 'rpc', version: 1 },
    // It has no other local transport.
    { name: grpc, carrier: 'unix', talk: 'grpc', version: 2 },
    { name: jsonrpc, carrier, talk: 'jsonrpc', version: 2 },
    { name: lines, carrier, talk: 'pipeline', version: 2 },
  ];
  return {
    subject,
    extent: `${calls} calls`,
    figures,
    costFigure: 'CPU µs/call',
    notes: [`"${lines}" is JSON.parse and JSON.stringify over the same carrier, and nothing else`],
    contenders: manners.map(({ name, ...manner }) => ({
      name,
      run: () => measure(settings, `${subject} ${name}`, manner, calls),
    })),
    comparisons: [rpc2, rpc1].flatMap((contender): Comparison[] => [
      { contender, against: grpc, figure: 'calls/s', mustReach: 7 },
      { contender, against: jsonrpc, figure: 'calls/s', mustReach: 2 },
      { contender, against: lines, figure: 'calls/s', mustReach: null },
    ]),
  };
}

async function measure(settings: Settings, name: string, manner: Manner, calls: number): Promise<Sample> {
  const { seconds, asking, answering } = await runEnds(settings, name, {
    ...manner,
    digest: false,
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
}
