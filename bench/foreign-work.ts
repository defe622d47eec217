import { readFileSync } from 'node:fs';

/** Below this, the clock ticks of 10 ms in which processor time is counted say nothing. */
const secondsMin = 0.2;
const ticksPerSecond = 100;

/** Work of others while something was measured, in processors: 1 is one processor all the time. */
export interface Noise {
  /** Used by anything but this process and the children it has waited for. */
  readonly foreignProcessors: number;
  /** Wanted here, and given by the host to another machine. */
  readonly stolenProcessors: number;
}

/** Seconds of processor time since the machine was started. */
interface MachineTimes {
  readonly busySeconds: number;
  readonly stolenSeconds: number;
}

/**
 * Watches from now on what others do to the machine; the function returned tells what they have done so far. Tells of nothing
 * where there is no /proc.
 */
export function watchNoise(): () => Noise {
  const begun = performance.now();
  const before = timesNow();
  return () => {
    const seconds = (performance.now() - begun) / 1000;
    const after = timesNow();
    if (seconds < secondsMin || before === null || after === null) return { foreignProcessors: 0, stolenProcessors: 0 };
    const share = (of: keyof MachineTimes): number => Math.max(0, (after[of] - before[of]) / seconds);
    return { foreignProcessors: share('busySeconds'), stolenProcessors: share('stolenSeconds') };
  };
}

/** Busy with others' work, that is. */
function timesNow(): MachineTimes | null {
  const own = ownSeconds();
  const times = own === null ? null : parseMachineTimes(readFileSync('/proc/stat', 'latin1'));
  return own === null || times === null ? null : { ...times, busySeconds: times.busySeconds - own };
}

/** Reads the text of /proc/stat: its first line counts ticks of user, nice, system, idle, iowait, irq, softirq, steal. */
export function parseMachineTimes(text: string): MachineTimes | null {
  const ticks = /^cpu +([\d ]+)$/m.exec(text)?.[1]?.split(' ').map(Number);
  if (ticks === undefined) return null;
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = ticks;
  return {
    busySeconds: (user + nice + system + irq + softirq) / ticksPerSecond,
    stolenSeconds: steal / ticksPerSecond,
  };
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
