import { Cron } from 'croner';

/**
 * When a cron pattern next comes due strictly after a moment, in the time zone of the machine; both in ms since 1970. Null: never.
 * @param pattern checked by the configuration
 */
export function nextCronMs(pattern: string, afterMs: number): number | null {
  const cron = new Cron(pattern, { paused: true });
  try {
    return cron.nextRun(new Date(afterMs))?.getTime() ?? null;
  } finally {
    cron.stop();
  }
}
