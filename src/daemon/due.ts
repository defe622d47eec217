import type { Schedule } from '../config/schedule.ts';
import { nextCronMs } from '../jobs/next-cron.ts';

/** What a schedule is looked at with. */
export interface DueSources {
  readonly schedule: Schedule;
  /** When the last run began, also one of an earlier daemon; null: there was none. */
  readonly lastBeganMs: number | null;
  /** Since when the schedule has been watched: what came due before is only caught up with if there was a run before. */
  readonly watchedSinceMs: number;
}

/**
 * When a job is to run next, in ms since 1970; in the past when it is overdue, however often it was missed; null: only when woken.
 * A job with an interval that has never run is due at once. In a night without the hour in which cron is due it is due right after
 * it, and in a night that has it twice, once. Pure but for the time zone of the machine.
 */
export function dueMs({ schedule, lastBeganMs, watchedSinceMs }: DueSources): number | null {
  switch (schedule.type) {
    case 'interval':
      return lastBeganMs === null ? watchedSinceMs : lastBeganMs + schedule.intervalMs;
    case 'cron':
      return nextCronMs(schedule.cron, lastBeganMs ?? watchedSinceMs);
    case 'manual':
      return null;
  }
}
