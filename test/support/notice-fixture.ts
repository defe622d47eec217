import { createNotice } from '../../src/daemon/notify/notice.ts';
import type { Notice } from '../../src/daemon/notify/notice.ts';
import { beganMs } from './daemon-fixture.ts';

/** The notice of one dataset that failed. */
export function failureNotice(overrides: Partial<Notice> = {}): Notice {
  const about = { event: 'failure', job: 'web1', atMs: beganMs, host: 'vault.example' } as const;
  const notice = createNotice({ ...about, isReminder: false, troublesRemaining: 0, untold: 0 }, [
    {
      kind: 'run',
      job: 'web1',
      identity: null,
      dataset: 'tank/däta',
      code: 'CONFLICT',
      message: 'both sides have changed',
      advice: 'snapferry doctor web1',
      sinceMs: beganMs,
    },
  ]);
  return { ...notice, id: '6b29fc40-ca47-1067-b31d-00dd010662da', ...overrides };
}

/** A signal that never fires. */
export const noSignal = new AbortController().signal;
