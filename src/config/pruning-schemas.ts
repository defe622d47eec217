import { z } from 'zod';
import { parseGrid } from '../snapshot-grid.ts';
import type { KeepRule, PruningSettings, Retention } from './pruning-settings.ts';
import { duration, expecting, listOf, oneOf, namePattern, parsedText, wholeNumber, yesOrNo } from './scalar-schemas.ts';

const count = wholeNumber(1, 1_000_000);
const regexOfNames = namePattern
  .optional()
  .describe('Regular expression; the rule only speaks of snapshots whose names match it. Default: of all.');

const keepRule = z.discriminatedUnion('type', [
  z
    .strictObject({
      type: z.literal('last_n').describe('The newest ones.'),
      count: count.describe('How many.'),
      regex: regexOfNames,
    })
    .transform((rule): KeepRule => ({ ...rule, regex: rule.regex ?? null })),
  z
    .strictObject({
      type: z.literal('grid').describe('Fewer and fewer with age.'),
      grid: parsedText('a grid such as "1x1h(keep=all) | 24x1h | 14x1d"', checkedGrid).describe(
        'Intervals from the newest snapshot on, each COUNTxDURATION, with (keep=all) or (keep=NUMBER); default one of each.',
      ),
      regex: regexOfNames,
    })
    .transform((rule): KeepRule => ({ ...rule, regex: rule.regex ?? null })),
  z
    .strictObject({
      type: z.literal('regex').describe('Those with certain names.'),
      regex: namePattern.describe('Regular expression for names.'),
      negate: yesOrNo.default(false).describe('Those with other names instead.'),
    })
    .transform((rule): KeepRule => rule),
  z
    .strictObject({
      type: z.literal('not_replicated').describe('Those not known to have arrived at the other side.'),
      keep_snapshot_at_cursor: z
        .literal(true, { error: 'the newest that has arrived is never removed; leave it out, or write true' })
        .optional()
        .describe('Also the newest that has arrived: always so.'),
    })
    .transform(({ type }): KeepRule => ({ type })),
  z
    .strictObject({
      type: z.literal('keep_for').describe('A floor: what is younger is never removed, whatever other rules say.'),
      age: duration.describe('How old a snapshot has to be before it may be removed.'),
      regex: regexOfNames,
    })
    .transform(({ type, age, regex: names }): KeepRule => ({ type, ageMs: age, regex: names ?? null })),
]);

function checkedGrid(text: string): string {
  parseGrid(text);
  return text;
}

const keep = listOf(keepRule, 'a list of at least one rule');
const keepOfCopies = keep.superRefine((rules, context) => {
  for (const [index, { type }] of rules.entries()) {
    if (type !== 'not_replicated') continue;
    const message = 'not_replicated means nothing for copies, which have all been replicated; leave it out';
    context.addIssue({ code: 'custom', path: [index, 'type'], message });
  }
});
const others = oneOf(['keep', 'destroy']).default('keep').describe('What becomes of snapshots that no rule speaks of.');

function toRetention(rules: readonly KeepRule[] | undefined, rest: Retention['others']): Retention | null {
  return rules === undefined ? null : { keep: rules, others: rest };
}

/** `pruning` of a job that only has datasets: `source`, `snap`. */
export const pruningOfOwn = z
  .strictObject(
    { keep: keep.describe('What is kept of the snapshots here.'), others },
    expecting('a mapping with keep'),
  )
  .transform((written): PruningSettings => ({ sender: toRetention(written.keep, written.others), receiver: null }));

/** `pruning` of a job that only stores copies: `sink`. */
export const pruningOfCopies = z
  .strictObject(
    { keep: keepOfCopies.describe('What is kept of the copies here.'), others },
    expecting('a mapping with keep'),
  )
  .transform((written): PruningSettings => ({ sender: null, receiver: toRetention(written.keep, written.others) }));

const keepSender = keep.describe('What is kept of the snapshots here, where they are sent from.');
const keepReceiver = keepOfCopies.describe('What is kept of the copies here, where they are stored.');

/** `pruning` of `push`: what it keeps where it sends from. */
export const pruningOfPush = z
  .strictObject({ keep_sender: keepSender, others }, expecting('a mapping with keep_sender'))
  .transform((written): PruningSettings => ({
    sender: toRetention(written.keep_sender, written.others),
    receiver: null,
  }));

/** `pruning` of `pull`: what it keeps where it stores. */
export const pruningOfPull = z
  .strictObject({ keep_receiver: keepReceiver, others }, expecting('a mapping with keep_receiver'))
  .transform((written): PruningSettings => ({
    sender: null,
    receiver: toRetention(written.keep_receiver, written.others),
  }));

/** `pruning` of `local`, which has both sides. */
export const pruningOfBoth = z
  .strictObject(
    { keep_sender: keepSender.optional(), keep_receiver: keepReceiver.optional(), others },
    expecting('a mapping with keep_sender and keep_receiver'),
  )
  .transform((written): PruningSettings => ({
    sender: toRetention(written.keep_sender, written.others),
    receiver: toRetention(written.keep_receiver, written.others),
  }));

/** Nothing is ever removed. */
export const noPruning: PruningSettings = { sender: null, receiver: null };
