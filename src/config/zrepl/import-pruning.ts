import { stringify } from 'yaml';
import { same } from './import-place.ts';
import type { ImportPlace } from './import-place.ts';

/** Rules as we write them, and the other way: as the list zrepl has them in. */
export type ImportedRules = readonly Record<string, unknown>[];

/** A list of rules; of a receiver without those that only a sender has. */
export function importRules(place: ImportPlace, side: 'sender' | 'receiver'): ImportedRules {
  return place.items().flatMap((rule): ImportedRules => {
    switch (rule.child('type').value) {
      case 'last_n':
        return [rule.convert({ type: same, count: same, regex: same })];
      case 'grid':
        return [rule.convert({ type: same, grid: same, regex: same })];
      case 'regex':
        return [rule.convert({ type: same, regex: same, negate: same })];
      case 'not_replicated':
        if (side === 'receiver') {
          rule.drop('not_replicated keeps nothing where copies are stored');
          return [];
        }
        return [rule.convert({ type: same, keep_snapshot_at_cursor: importAtCursor })];
      default:
        rule.drop('is no rule of zrepl 0.7 (not_replicated, last_n, grid, regex)');
        return [];
    }
  });
}

function importAtCursor(place: ImportPlace): unknown {
  if (place.value === false)
    place.change('the newest snapshot that has arrived is never removed here; "false" is left out');
  return undefined;
}

/**
 * `pruning` with the rules of one side. What no rule keeps is removed, as zrepl does it; without rules nothing is ever removed.
 * @param key what the list is called in this job
 */
export function pruningOf(
  rules: ImportedRules,
  key: 'keep' | 'keep_sender' | 'keep_receiver',
): Record<string, unknown> | undefined {
  return rules.length === 0 ? undefined : { [key]: rules, others: 'destroy' };
}

/** Whether the rules keep all there is: then whoever has them removes nothing. */
export function keepsAll(rules: ImportedRules): boolean {
  return rules.some(
    ({ type, regex, negate }) => type === 'regex' && negate !== true && (regex === '.*' || regex === '^.*$'),
  );
}

/** Says that rules are to be written into the configuration of the other machine. */
export function belongsElsewhere(place: ImportPlace, rules: ImportedRules, jobThere: 'source' | 'sink'): void {
  if (rules.length === 0 || keepsAll(rules)) {
    place.change(`nothing is removed over a connection, and these rules keep all: left out`);
    return;
  }
  const pruning = stringify({ pruning: pruningOf(rules, 'keep') }, { collectionStyle: 'flow', lineWidth: 0 }).trim();
  place.drop(
    `nothing is removed over a connection: the ${jobThere} job on the other machine has to have ${pruning.replace(/^\{ (.*) \}$/, '$1')}`,
  );
}
