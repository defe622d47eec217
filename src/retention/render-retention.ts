import { formatVersion } from '../dataset.ts';
import type { RetentionDecision, RetentionPlan } from './plan-retention.ts';
import { parseTime } from './trusted-times.ts';

/** How a plan is shown. */
export interface RenderRetentionOptions {
  /** `text`: a line a version, `-` before what is destroyed, as in a diff. `json`: one document, see {@link RetentionDocument}. */
  readonly format: 'text' | 'json';
  /** What is pruned, for people and programs. */
  readonly dataset: string;
}

/** A plan as JSON. Numbers of 64 bits are in decimal. */
export interface RetentionDocument {
  readonly dataset: string;
  readonly now: string;
  readonly keep: number;
  readonly destroy: number;
  readonly versions: readonly {
    readonly type: string;
    readonly name: string;
    readonly guid: string;
    readonly creation: string | null;
    readonly at: string | null;
    readonly verdict: 'keep' | 'destroy';
    readonly by: string;
    /** Which of the rules, from 1, as people count. */
    readonly rule: number | null;
    readonly reason: string;
  }[];
}

/** Clocks print seconds or fractions of them; less than this is no difference. */
const sameTimeMs = 1000;

/** A plan for people or programs: each version, oldest first, with the rule that decided. Ends with a newline. */
export function renderRetention(plan: RetentionPlan, { format, dataset }: RenderRetentionOptions): string {
  return format === 'json' ? `${JSON.stringify(toDocument(plan, dataset))}\n` : toText(plan, dataset);
}

function toDocument(plan: RetentionPlan, dataset: string): RetentionDocument {
  return {
    dataset,
    now: plan.now,
    ...count(plan),
    versions: plan.decisions.map(({ version, verdict, by, ruleIndex, reason, at }) => ({
      type: version.type,
      name: version.name,
      guid: String(version.guid),
      creation: version.creation,
      at,
      verdict,
      by,
      rule: ruleIndex === null ? null : ruleIndex + 1,
      reason,
    })),
  };
}

function toText(plan: RetentionPlan, dataset: string): string {
  const { keep, destroy } = count(plan);
  const rows = plan.decisions.map((decision) => [
    decision.verdict === 'destroy' ? '- destroy' : '  keep',
    printable(formatVersion(decision.version)),
    timeOf(decision),
    `${decision.ruleIndex === null ? '' : `rule ${decision.ruleIndex + 1}, `}${decision.by}: ${printable(decision.reason)}`,
  ]);
  const widths = [0, 1, 2].map((column) => rows.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 0));
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));
  return `${[`${printable(dataset)}: ${keep} to be kept, ${destroy} to be destroyed`, ...lines].join('\n')}\n`;
}

function count({ decisions }: RetentionPlan): { keep: number; destroy: number } {
  const destroy = decisions.filter(({ verdict }) => verdict === 'destroy').length;
  return { keep: decisions.length - destroy, destroy };
}

/** What a version says of its time, and what is made of it where that differs. */
function timeOf({ version, at }: RetentionDecision): string {
  const [said, seen] = [parseTime(version.creation), parseTime(at)];
  if (seen === null) return said === null || version.creation === null ? 'unknown' : version.creation;
  const seenText = new Date(seen).toISOString().replace('.000Z', 'Z');
  if (said !== null && Math.abs(said - seen) < sameTimeMs) return seenText;
  return `${seenText} (it says ${printable(version.creation ?? 'nothing')})`;
}

/** Names and times come from peers and go to a terminal. */
function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
