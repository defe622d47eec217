import { readdirSync } from 'node:fs';
import { Counter, Gauge } from '@platformatic/prom-client';
import type { Registry } from '@platformatic/prom-client';

/**
 * Registers what this process uses, under the names that every Prometheus client has for it. The library's own collection of
 * defaults is not used, since it leaves observers of the event loop behind that nothing can stop.
 */
export function registerProcessMetrics(registry: Registry): void {
  const registers = [registry];
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory size in bytes.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Gauge({
    name: 'process_open_fds',
    help: 'Number of open file descriptors.',
    registers,
    collect() {
      const count = openFileDescriptors();
      if (count !== null) this.set(count);
    },
  });
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Total user and system CPU time spent in seconds.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
}

/** Null where the kernel does not tell. */
function openFileDescriptors(): number | null {
  try {
    // Reading the directory opens one more.
    return readdirSync('/proc/self/fd').length - 1;
  } catch {
    return null;
  }
}
