import { gibibyte, kibibyte, measureTransfer, mebibyte, transferFigures } from './measure-transfer.ts';
import type { Contender, Question } from './question.ts';

const slowdown = 10;
const fast = 'consumer as fast as it can';
const slow = `consumer ${slowdown} times slower`;
const blockBytes = 64 * kibibyte;

/** The most an end may ever hold, Node itself and the program among it. */
const residentMibMax = 90;

/** How much memory the ends of a long transfer come to hold. */
export const memory: Question = {
  name: 'memory',
  ask(settings) {
    const units = settings.quick ? 64 * mebibyte : 8 * gibibyte;
    const subject = 'peak memory of the larger end, transfer over unix with the default digest';
    const contender = (name: string, slower: { slowdown?: number }): Contender => ({
      name,
      run: () =>
        measureTransfer(settings, `${subject} ${name}`, {
          ...{ carrier: 'unix', talk: 'rpc', version: 2, digest: true, blockBytes, units },
          ...slower,
        }),
    });
    return Promise.resolve({
      contests: [
        {
          subject,
          extent: `${units / mebibyte} MiB`,
          figures: transferFigures,
          costFigure: null,
          notes: ['the slower consumer waits after each piece; how fast it could be it learns while warming up'],
          contenders: [contender(fast, {}), contender(slow, { slowdown })],
          comparisons: [fast, slow].map((name) => ({
            contender: name,
            against: null,
            figure: 'RSS MiB',
            mustReach: residentMibMax,
          })),
          // Others at work change when something happens, hardly what is held.
          discardNoisyRounds: false,
        },
      ],
    });
  },
};
