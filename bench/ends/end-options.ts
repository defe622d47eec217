/** What joins the two ends: a socket between two programs (TCP on the loopback), or a child's standard input and output. */
export type Carrier = 'unix' | 'tcp' | 'stdio';

/** Where the answering end listens, as net.connect takes it. */
export type Address = { readonly path: string } | { readonly host: string; readonly port: number };

/** Where TCP is measured. */
export const loopback = '127.0.0.1';

/** How the two ends talk. */
export interface EndOptions {
  readonly carrier: Carrier;
  /**
   * `rpc`: ByteStreamRPC. `raw`: bare blocks written to the carrier and counted in a `data` handler, and JSON values on
   * lines for requests. `onread`: the same, read into one static buffer.
   */
  readonly talk: 'rpc' | 'raw' | 'onread';
  /** Version the RPC speaks; of no meaning for the others. */
  readonly version: 1 | 2;
  /** Whether both ends compute an xxh64 over what passes. */
  readonly digest: boolean;
  /** Size of the blocks the answering end takes its bytes from; 0 where nothing but requests is sent. */
  readonly blockBytes: number;
  /** Path of the unix socket (of no meaning for TCP), or (`onread` over stdio) where a throwaway one may be made. */
  readonly socketPath: string;
  /** Folder for CPU profiles of both ends, or null for none. */
  readonly profileFolder: string | null;
}

/** What the asking end is told to do: so many units to warm up, so many more measured. */
export interface AskingOptions extends EndOptions {
  readonly measure: 'transfer' | 'requests';
  /** Bytes or requests. */
  readonly warmUpUnits: number;
  readonly units: number;
}

/** What a process has used so far. */
export interface Usage {
  /** Both of user and system time, in microseconds. */
  readonly cpuMicros: number;
  /** The most memory it ever held, in KiB. */
  readonly residentKibMax: number;
}

/** What one measured run of two ends came to. */
export interface EndsMeasurement {
  readonly seconds: number;
  readonly asking: Usage;
  readonly answering: Usage;
}

/** What this process has used so far. */
export function usageNow(): Usage {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  return { cpuMicros: userCPUTime + systemCPUTime, residentKibMax: maxRSS };
}

/** Arguments of Node for an end, so that it leaves a CPU profile named after it when it exits. */
export function profileArguments(folder: string | null, name: string): string[] {
  if (folder === null) return [];
  return ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-name=${name}-${process.pid}.cpuprofile`];
}
