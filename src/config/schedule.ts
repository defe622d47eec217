/** When something happens by itself. Whatever it says, a wakeup runs the job at once. */
export type Schedule =
  /** `intervalMs` after the last run began; at once when that has passed. */
  | { readonly type: 'interval'; readonly intervalMs: number }
  /** In the syntax of cron (five fields, or six with seconds first), in the time zone of the machine; checked by croner. */
  | { readonly type: 'cron'; readonly cron: string }
  /** Only when woken. */
  | { readonly type: 'manual' };
