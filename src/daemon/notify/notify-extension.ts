import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { DaemonExtension } from '../daemon-extension.ts';
import { deliverNotice } from './deliver.ts';
import type { Deliver } from './deliver.ts';
import { Notifier } from './notifier.ts';
import { readNotifyState } from './notify-state.ts';

/** What may be chosen about {@link notifyExtension}. */
export interface NotifyExtensionOptions {
  /** Told of every attempt to tell somebody: for metrics. */
  readonly onAttempt?: ((type: string, outcome: 'delivered' | 'failed' | 'dropped') => void) | undefined;
  /** The name of this machine in what is told. Default: its host name. */
  readonly host?: string | undefined;
  /** Brings a notice to somebody. Default: by what the notification is configured as. */
  readonly deliver?: Deliver | undefined;
}

/** The file in `global.stateDir` in which it is remembered who was told what. */
export const notifyStateName = 'notifications.json';

/**
 * Tells people (`global.notifications`) when a run fails, when what had failed works again, and when the newest snapshot of a dataset
 * is older than `stale_after` allows. A trouble is told once, again when it becomes another one, and as a reminder after
 * `repeat_after`; at most ten messages about one job within an hour, and what was left out is told then. Who was told what survives
 * a restart, also what could not be delivered yet. Follows a reload.
 */
export function notifyExtension(options: NotifyExtensionOptions = {}): DaemonExtension {
  return {
    name: 'notifications',
    async start(context) {
      const { stateDir } = context.configuration().global;
      await mkdir(stateDir, { recursive: true, mode: 0o700 });
      const path = join(stateDir, notifyStateName);
      const state = await readNotifyState(path, context.logger);
      const notifier = new Notifier(context, {
        path,
        state,
        host: options.host ?? hostname(),
        deliver: options.deliver ?? deliverNotice,
        onAttempt: options.onAttempt ?? (() => undefined),
      });
      notifier.begin();
      return notifier;
    },
  };
}
