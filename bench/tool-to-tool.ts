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
import type { Contender, Question } from './question.ts';

const rpc = 'version 2, no digest';
const rpcDigest = 'version 2, xxh64';
const plain = 'stream.pipeline without framing';
const blockBytes = 128 * kibibyte;

/** From a child's standard output to another child's standard input, through both ends. */
export const toolToTool: Question = {
  name: 'tools',
  ask(settings) {
    const units = settings.quick ? 16 * mebibyte : 2 * gibibyte;
    const subject = 'tool to tool over unix';
    const contender = (name: string, manner: Pick<EndOptions, 'talk' | 'digest' | 'tools'>): Contender => ({
      name,
      run: () =>
        measureTransfer(settings, `${subject} ${name}`, { carrier: 'unix', version: 2, blockBytes, units, ...manner }),
    });
    return Promise.resolve({
      contests: [
        {
          subject,
          extent: `${units / mebibyte} MiB`,
          figures: transferFigures,
          costFigure: transferCost,
          notes: [
            `the tools are dd, which writes ${blockBytes / kibibyte} KiB at a time as zfs send and tar do; CPU is that of the two ends alone`,
          ],
          contenders: [
            contender(rpc, { talk: 'rpc', digest: false, tools: true }),
            contender(rpcDigest, { talk: 'rpc', digest: true, tools: true }),
            contender(plain, { talk: 'tool-pipeline', digest: false }),
          ],
          comparisons: [faster(rpc, plain, 1.5), faster(rpcDigest, plain, null)],
        },
      ],
    });
  },
};
