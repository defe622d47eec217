import type { InheritedSocket } from '../transport/inherited-sockets.ts';
import type { DaemonExtensions } from './daemon-extension.ts';
import { createDaemonMetrics } from './metrics/daemon-metrics.ts';
import { metricsExtension } from './metrics/metrics-extension.ts';
import { notifyExtension } from './notify/notify-extension.ts';

/**
 * What every daemon has: metrics and notifications, with the former counting the latter.
 * @param inheritedSockets what systemd has opened for this process
 */
export function monitoringExtensions(inheritedSockets: readonly InheritedSocket[]): DaemonExtensions {
  const metrics = createDaemonMetrics();
  return [
    metricsExtension({ metrics, inheritedSockets }),
    notifyExtension({ onAttempt: (type, outcome) => metrics.countNotification(type, outcome) }),
  ];
}
