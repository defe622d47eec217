import type { Notification } from '../../config/global-settings.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import type { Clock } from '../../jobs/clock.ts';
import { deliverByCommand } from './deliver-command.ts';
import { deliverByMail } from './deliver-mail.ts';
import { deliverByWebhook } from './deliver-webhook.ts';
import type { Notice } from './notice.ts';

/** Brings a notice to somebody. Rejects when it is not known to have arrived. */
export type Deliver = (notification: Notification, notice: Notice, signal: AbortSignal) => Promise<void>;

/** Delivers by whatever the notification is configured as. */
export const deliverNotice: Deliver = (notification, notice, signal) => {
  switch (notification.type) {
    case 'command':
      return deliverByCommand(notification, notice, signal);
    case 'webhook':
      return deliverByWebhook(notification, notice, signal);
    case 'mail':
      return deliverByMail(notification, notice, signal);
  }
};

/**
 * Delivers within the time that the notification allows.
 * @throws SnapferryError what `deliver` failed with; `TIMEOUT`; `CANCELLED` by the signal
 */
export async function deliverInTime(
  deliver: Deliver,
  notification: Notification,
  notice: Notice,
  options: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort();
  options.signal.addEventListener('abort', onAbort, { once: true });
  if (options.signal.aborted) onAbort();
  const late = new SnapferryError(
    'TIMEOUT',
    `telling by ${notification.type} took longer than ${notification.timeoutMs} ms`,
  );
  const cancelTimer = options.clock.after(notification.timeoutMs, () => controller.abort(late));
  try {
    await deliver(notification, notice, controller.signal);
  } catch (error) {
    const failure = toSnapferryError(error, 'INTERNAL', `telling by ${notification.type}`);
    throw controller.signal.reason === late && failure.code === 'CANCELLED' ? late : failure;
  } finally {
    cancelTimer();
    options.signal.removeEventListener('abort', onAbort);
  }
}
