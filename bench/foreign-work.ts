import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** Below this, the clock ticks of 10 ms in which processor time is counted say nothing. */
const secondsMin = 0.2;
const ticksPerSecond = 100;

/** How busy others keep the machine from now on, see {@link foreignWork}. */
export interface ForeignWork {
  /** Processors used since then, on average, by anything but this process and the children it has waited for. */
  processors(): number;
}

/** Watches what other programs do to the machine while something is measured. Counts nothing where there is no /proc. */
export function foreignWork(): ForeignWork {
  const begun = performance.now();
  const foreignBefore = foreignSeconds();
  return {
    processors() {
      const seconds = (performance.now() - begun) / 1000;
      return seconds < secondsMin ? 0 : Math.max(0, (foreignSeconds() - foreignBefore) / seconds);
    },
  };
}

function foreignSeconds(): number {
  const own = ownSeconds();
  if (own === null) return 0;
  const busyMs = cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
  return busyMs / 1000 - own;
}

/**
 * Seconds of processor time of this process and the children it has waited for; null where there is no /proc. Node tells
 * of this process alone; its children are in proc(5), fields 14 to 17 of stat.
 */
export function ownSeconds(): number | null {
  let stat: string;
  try {
    stat = readFileSync('/proc/self/stat', 'latin1');
  } catch {
    return null;
  }
  const afterName = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return afterName.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / ticksPerSecond;
}
