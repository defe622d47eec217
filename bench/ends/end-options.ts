import { readFileSync } from 'node:fs';
import type { SSHDestination } from '../../src/transport/ssh.ts';

/**
 * What joins the two ends: a socket between two programs (TCP and TLS on the loopback), a child's standard input and output,
 * or those of a program run by a real sshd on the loopback.
 */
export type Carrier = 'unix' | 'tcp' | 'tls' | 'stdio' | 'ssh';

/** Where the answering end listens, as net.connect takes it. */
export type Address = { readonly path: string } | { readonly host: string; readonly port: number };

/** Where TCP is measured. */
export const loopback = '127.0.0.1';

/** Other libraries, and copies that are a protocol of their own; all of them over a unix socket. */
export type PeerName = 'grpc' | 'http2' | 'ws' | 'length-prefixed' | 'yamux' | 'jsonrpc' | 'tool-pipeline';

/** One certificate for both ends, with its authority; in PEM. */
export type Credentials = Readonly<Record<'ca' | 'cert' | 'key', string>>;

/** How the two ends talk. */
export interface EndOptions {
  readonly carrier: Carrier;
  /**
   * `rpc`: ByteStreamRPC. `pipeline`: bare blocks through stream.pipeline, and JSON values on lines for requests. `onread`:
   * the same, written as fast as the socket takes them and read into one static buffer. `cat`: `ssh host cat FILE` without an
   * answering end of ours.
   */
  readonly talk: 'rpc' | 'pipeline' | 'onread' | 'cat' | PeerName;
  /** Version the RPC speaks; of no meaning for the others. */
  readonly version: 1 | 2;
  /** Whether both ends compute an xxh64 over what passes. */
  readonly digest: boolean;
  /** Size of the blocks the answering end takes its bytes from; 0 where nothing but requests is sent. */
  readonly blockBytes: number;
  /** Whether the bytes come from a child's standard output and go to another child's standard input. RPC only. */
  readonly tools?: boolean;
  /** Folder of files named after their size, from which the bytes come instead. RPC and `cat` only. */
  readonly filesFolder?: string;
  /** Of both ends; for TLS. */
  readonly credentials?: Credentials;
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
  /** So many times slower than it could the asking end takes its bytes, judged by the warming up. RPC only. */
  readonly slowdown?: number;
  /** Where the answering end is run; for ssh. */
  readonly ssh?: Omit<SSHDestination, 'command'>;
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
  return { cpuMicros: userCPUTime + systemCPUTime, residentKibMax: peakResidentKib() ?? maxRSS };
}

/** Linux's getrusage counts the memory of the parent, which a child has for a moment before its own program is loaded. */
function peakResidentKib(): number | null {
  if (process.platform !== 'linux') return null;
  const peak = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return peak === undefined ? null : Number(peak);
}

/** Arguments of Node for an end, so that it leaves a CPU profile named after it when it exits. */
export function profileArguments(folder: string | null, name: string): string[] {
  if (folder === null) return [];
  return ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-name=${name}-${process.pid}.cpuprofile`];
}
