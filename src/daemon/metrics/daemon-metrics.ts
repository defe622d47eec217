import { Counter, Registry } from '@platformatic/prom-client';
import type { JobEvent } from '../../jobs/job-events.ts';
import type { DaemonStatus } from '../daemon-status.ts';
import { BoundedDatasets } from './bounded-labels.ts';
import { registerEventMetrics } from './event-metrics.ts';
import { registerProcessMetrics } from './process-metrics.ts';
import { registerStatusMetrics } from './status-metrics.ts';

/** What may be chosen about {@link createDaemonMetrics}. */
export interface DaemonMetricsOptions {
  /**
   * Of how many datasets of a job there are metrics; the others have only those of their job. The names of a sink's datasets are
   * chosen by its clients. Default 1000.
   */
  readonly datasetsPerJobMax?: number | undefined;
}

/** Metrics of one daemon, in a registry of their own. */
export interface DaemonMetrics {
  /** Counts an event. */
  observe(event: JobEvent): void;
  /** Counts an attempt to tell somebody of something. */
  countNotification(type: string, outcome: 'delivered' | 'failed' | 'dropped'): void;
  /** Everything in Prometheus' text format, and the content type of it. */
  expose(status: DaemonStatus): Promise<{ readonly contentType: string; readonly body: string }>;
}

const datasetsPerJobMaxDefault = 1000;
const notificationTypes = ['command', 'webhook', 'mail'] as const;

/** Makes the metrics of a daemon, all counters at zero. */
export function createDaemonMetrics(options: DaemonMetricsOptions = {}): DaemonMetrics {
  const datasetsPerJobMax = options.datasetsPerJobMax ?? datasetsPerJobMaxDefault;
  const registry = new Registry();
  const setStatus = registerStatusMetrics(registry, { datasetsPerJobMax });
  const events = registerEventMetrics(registry, new BoundedDatasets(datasetsPerJobMax));
  const notifications = new Counter({
    name: 'snapferry_notifications_total',
    help: 'Attempts to tell somebody of something, by outcome: delivered, failed (tried again later), dropped.',
    labelNames: ['type', 'outcome'],
    registers: [registry],
  });
  for (const type of notificationTypes) notifications.inc({ type, outcome: 'failed' }, 0);
  registerProcessMetrics(registry);
  return {
    observe: (event) => events.observe(event),
    countNotification: (type, outcome) => notifications.inc({ type, outcome }),
    async expose(status) {
      setStatus(status);
      for (const job of status.jobs) events.begin(job.name);
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}
