import { fstatSync } from 'node:fs';
import { destination, pino } from 'pino';
import type { DestinationStream, Logger as PinoLogger } from 'pino';
import { prettyFactory } from 'pino-pretty';
import type { LoggingSettings } from '../config/global-settings.ts';
import { LogTail } from './log-tail.ts';

const stderrFd = 2;

/** What is never written, whatever object it is in. */
const secretNames: readonly string[] = [
  ...['password', 'passphrase', 'secret', 'token', 'bearerToken', 'authorization', 'Authorization', 'resumeToken'],
  ...['cookie', 'privateKey', 'url'],
];

/** How deep within a logged object secrets are looked for. */
const depthMax = 4;

const redactedPaths = secretNames.flatMap((name) =>
  Array.from({ length: depthMax }, (_, depth) => [...Array.from({ length: depth }, () => '*'), name].join('.')),
);

/** Where the log goes, and what decides how. */
export interface DaemonLogOptions {
  readonly settings: LoggingSettings;
  /** Default: the standard error of the process, synchronously, so that the last words before a crash are not lost. */
  readonly out?: DestinationStream | undefined;
  /** Whether systemd's journal reads it. Default: found out. */
  readonly isJournal?: boolean | undefined;
  /** Whether a terminal shows it. Default: found out. */
  readonly isTerminal?: boolean | undefined;
}

/** The log of the daemon: one line for each event, for people or as JSON, without secrets. */
export class DaemonLog {
  readonly logger: PinoLogger;
  /** The same lines, always as JSON. */
  readonly tail = new LogTail();
  #children: WeakRef<PinoLogger>[] = [];
  #childrenSwept = 64;
  #format: (line: string) => string;
  readonly #options: DaemonLogOptions;

  constructor(options: DaemonLogOptions) {
    this.#options = options;
    const out = options.out ?? standardError();
    this.#format = formatOf(options);
    this.logger = pino(
      {
        level: options.settings.level,
        base: null,
        redact: { paths: redactedPaths, censor: '(secret)' },
        onChild: (child) => this.#remember(child as PinoLogger),
      },
      {
        write: (line: string) => {
          this.tail.push(line.trimEnd());
          out.write(this.#format(line));
        },
      },
    );
  }

  /** Goes on with other settings, also for whoever has got a logger already. */
  configure(settings: LoggingSettings): void {
    this.#format = formatOf({ ...this.#options, settings });
    this.logger.level = settings.level;
    for (const child of this.#children) {
      const living = child.deref();
      if (living !== undefined) living.level = settings.level;
    }
  }

  /** A child has a level of its own; it may live as long as a session. */
  #remember(child: PinoLogger): void {
    if (this.#children.length >= this.#childrenSwept) {
      this.#children = this.#children.filter((known) => known.deref() !== undefined);
      this.#childrenSwept = 2 * this.#children.length + 64;
    }
    this.#children.push(new WeakRef(child));
  }
}

function standardError(): DestinationStream {
  const out = destination({ fd: stderrFd, sync: true });
  // Whoever read it has gone; that is no reason to stop making copies.
  out.on('error', () => undefined);
  return out;
}

function formatOf(options: DaemonLogOptions): (line: string) => string {
  const { settings } = options;
  const isJournal = options.isJournal ?? isReadByJournal();
  const hasTime = settings.time ?? !isJournal;
  const prefix = isJournal ? priorityOf : () => '';
  if (settings.format === 'json') return (line) => prefix(line) + (hasTime ? line : line.replace(/,"time":\d+/, ''));
  const pretty = prettyFactory({
    colorize: settings.color ?? options.isTerminal ?? process.stderr.isTTY,
    translateTime: 'SYS:yyyy-mm-dd HH:MM:ss.l',
    ignore: ['pid', 'hostname', 'event', ...(hasTime ? [] : ['time'])].join(','),
    singleLine: true,
  });
  return (line) => prefix(line) + pretty(line);
}

/** Whether what is written to the standard error is read by systemd's journal, which has the time of each line itself. */
function isReadByJournal(env: NodeJS.ProcessEnv = process.env): boolean {
  const [device, inode] = (env['JOURNAL_STREAM'] ?? '').split(':');
  if (inode === undefined) return false;
  try {
    const { dev, ino } = fstatSync(stderrFd);
    return String(dev) === device && String(ino) === inode;
  } catch {
    return false;
  }
}

/** As sd-daemon(3) has it, so that `journalctl -p err` shows the errors. */
function priorityOf(line: string): string {
  const level = Number(/"level":(\d+)/.exec(line)?.[1]);
  return level >= 50 ? '<3>' : level >= 40 ? '<4>' : level >= 30 ? '<6>' : '<7>';
}
