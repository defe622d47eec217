import { destination, pino } from 'pino';
import type { DestinationStream } from 'pino';
import type { Logger } from '../rpc/interfaces.ts';

const stderrFd = 2;

/** What decides about the log. */
export interface LoggerChoices {
  /** 0: no log; 1: what happens; 2 and more: everything. */
  readonly verbose: number;
  /** JSON lines also on a terminal. */
  readonly json: boolean;
}

/** The program's log, on stderr only: over stdio, stdout is the protocol. For people on a terminal, JSON elsewhere. */
export async function programLogger(choices: LoggerChoices): Promise<Logger> {
  const logger: Logger = pino({ level: levelOf(choices.verbose) }, await destinationOf(choices));
  return logger;
}

function levelOf(verbose: number): string {
  if (verbose === 0) return 'silent';
  return verbose === 1 ? 'info' : 'trace';
}

async function destinationOf({ verbose, json }: LoggerChoices): Promise<DestinationStream> {
  // Synchronous, so that the last words before a hard exit are not lost.
  if (verbose === 0 || json || !process.stderr.isTTY) return destination({ fd: stderrFd, sync: true });
  const { default: pretty } = await import('pino-pretty');
  return pretty({ destination: stderrFd, sync: true, ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' });
}
