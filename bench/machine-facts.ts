import { availableParallelism, cpus, freemem, loadavg, release, totalmem, type as systemName } from 'node:os';

/** What the figures depend on beside the code. */
export interface MachineFacts {
  readonly processors: number;
  readonly processorModel: string;
  readonly memoryMib: number;
  readonly freeMemoryMib: number;
  readonly node: string;
  readonly system: string;
  /** Average number of running programs in the minute before the run. */
  readonly load: number;
}

const mebibyte = 1024 * 1024;

/** The facts of this machine now. */
export function machineFacts(): MachineFacts {
  return {
    processors: availableParallelism(),
    processorModel: cpus()[0]?.model.trim() ?? 'unknown',
    memoryMib: Math.round(totalmem() / mebibyte),
    freeMemoryMib: Math.round(freemem() / mebibyte),
    node: process.version,
    system: `${systemName()} ${release()} ${process.arch}`,
    load: loadavg()[0] ?? 0,
  };
}

/** The facts on one line. */
export function describeMachine(facts: MachineFacts): string {
  const { processors, processorModel, memoryMib, freeMemoryMib, node, system, load } = facts;
  return [
    `${processors} processors (${processorModel})`,
    `${memoryMib} MiB memory (${freeMemoryMib} free)`,
    `node ${node}`,
    system,
    `load ${load.toFixed(2)} before the run`,
  ].join(' · ');
}
