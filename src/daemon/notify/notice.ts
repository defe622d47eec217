import { randomUUID } from 'node:crypto';
import type { NotificationEvent } from '../../config/global-settings.ts';
import { tellableName } from './trouble.ts';
import type { Trouble } from './trouble.ts';

/** One message: what is told at once about one job. Plain data. */
export interface Notice {
  /** Unique; the same when it is told again because it is not known to have arrived. */
  readonly id: string;
  readonly event: NotificationEvent;
  readonly job: string;
  /** When it was written, in ms since 1970. */
  readonly atMs: number;
  /** The name of this machine. */
  readonly host: string;
  /** True when all of it has been told before, and still is so. */
  readonly isReminder: boolean;
  /** What began, or (`recovery`) what is over. The first so many. */
  readonly troubles: readonly Trouble[];
  /** How many more there are. */
  readonly troublesLeftOut: number;
  /** How much else is wrong with the job. */
  readonly troublesRemaining: number;
  /** Failures since the last message that came and went without one, for there were too many messages. */
  readonly untold: number;
}

const troublesPerNoticeMax = 20;

/** Writes a notice. */
export function createNotice(
  about: Pick<Notice, 'event' | 'job' | 'atMs' | 'host' | 'isReminder' | 'troublesRemaining' | 'untold'>,
  troubles: readonly Trouble[],
): Notice {
  return {
    ...about,
    id: randomUUID(),
    troubles: troubles.slice(0, troublesPerNoticeMax),
    troublesLeftOut: Math.max(0, troubles.length - troublesPerNoticeMax),
  };
}

/** A notice for programs: what a command reads and a webhook gets. Times are RFC 3339. */
export interface NoticeDocument {
  readonly version: 1;
  readonly id: string;
  readonly event: NotificationEvent;
  readonly job: string;
  readonly host: string;
  readonly time: string;
  readonly title: string;
  /** All of it, for people. */
  readonly text: string;
  readonly reminder: boolean;
  readonly troubles: readonly {
    readonly dataset: string | null;
    readonly client: string | null;
    readonly code: string;
    readonly message: string;
    readonly advice: string | null;
    readonly since: string;
  }[];
  readonly troubles_left_out: number;
  readonly troubles_remaining: number;
  readonly failures_untold: number;
}

/** The notice as a {@link NoticeDocument}. */
export function noticeDocument(notice: Notice): NoticeDocument {
  return {
    version: 1,
    id: notice.id,
    event: notice.event,
    job: notice.job,
    host: notice.host,
    time: timeOf(notice.atMs),
    title: noticeTitle(notice),
    text: noticeText(notice),
    reminder: notice.isReminder,
    troubles: notice.troubles.map(({ dataset, identity, code, message, advice, sinceMs }) => ({
      dataset,
      client: identity,
      code,
      message,
      advice,
      since: timeOf(sinceMs),
    })),
    troubles_left_out: notice.troublesLeftOut,
    troubles_remaining: notice.troublesRemaining,
    failures_untold: notice.untold,
  };
}

/** One line: the subject of a mail. */
export function noticeTitle(notice: Notice): string {
  const { event, isReminder, troubles, untold } = notice;
  const count = troubles.length + notice.troublesLeftOut;
  if (count === 0) return `snapferry on ${notice.host}: ${notice.job} failed ${untold} more times, and works again`;
  const isOne = count === 1;
  const dataset = tellableName(troubles[0]?.dataset ?? '');
  const isWhole = troubles.some((trouble) => trouble.dataset === null);
  const who = isWhole ? notice.job : `${notice.job}: ${isOne ? dataset : `${count} datasets`}`;
  const isPlural = !isWhole && !isOne;
  const verb = {
    failure: isReminder ? (isPlural ? 'still fail' : 'still fails') : 'failed',
    stale: `${isPlural ? 'are' : 'is'} ${isReminder ? 'still ' : ''}stale`,
    recovery: isPlural ? 'work again' : 'works again',
  }[event];
  const code = event === 'failure' && isOne ? ` (${troubles[0]?.code ?? ''})` : '';
  return `snapferry on ${notice.host}: ${who} ${verb}${code}`;
}

/** All of it for people, several lines. */
export function noticeText(notice: Notice): string {
  const lines = [noticeTitle(notice), ''];
  for (const trouble of notice.troubles) lines.push(...troubleLines(notice, trouble));
  if (notice.troublesLeftOut > 0) lines.push(`... and ${notice.troublesLeftOut} more.`, '');
  if (notice.untold > 0) {
    lines.push(`${notice.untold} failures since the last message came and went without a message of their own.`, '');
  }
  if (notice.troublesRemaining > 0) {
    lines.push(`Of this job, ${notice.troublesRemaining} more troubles last that were told before.`, '');
  }
  lines.push(`Everything at a glance: snapferry status (on ${notice.host})`);
  return `${lines.join('\n')}\n`;
}

function troubleLines({ event }: Notice, trouble: Trouble): string[] {
  const client = trouble.identity === null ? '' : ` of ${tellableName(trouble.identity)}`;
  const name = `${trouble.dataset === null ? `job ${trouble.job}` : tellableName(trouble.dataset)}${client}`;
  if (event === 'recovery') return [`${name}: over; it was ${trouble.code} since ${timeOf(trouble.sinceMs)}`, ''];
  const lines = [`${name}: ${trouble.code} since ${timeOf(trouble.sinceMs)}`, `  ${trouble.message}`];
  if (trouble.advice !== null) lines.push(`  What to do: ${trouble.advice}`);
  return [...lines, ''];
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
