import type { ListenSettings } from './connection-settings.ts';

/** `global` of the configuration. */
export interface GlobalSettings {
  readonly logging: LoggingSettings;
  /** Where metrics are served; null: nowhere. */
  readonly monitoring: { readonly listen: ListenSettings } | null;
  readonly control: {
    /** The socket that the commands use to talk to the daemon. */
    readonly sockpath: string;
  };
  readonly serve: {
    /** Directory for the sockets of `stdinserver`, one for each identity. */
    readonly stdinserverSockdir: string;
  };
  /** Directory for the history of runs. */
  readonly stateDir: string;
  /** How long a stop waits for runs to finish before it interrupts them, in ms. */
  readonly shutdownMsMax: number;
  readonly notifications: readonly Notification[];
  /** What is run for the tools of a backend: `['sudo', '-n', 'zfs']`. */
  readonly tools: {
    readonly zfs: readonly [string, ...string[]];
    readonly btrfs: readonly [string, ...string[]];
  };
}

/** What the daemon logs, to its standard error. */
export interface LoggingSettings {
  readonly level: 'error' | 'warn' | 'info' | 'debug' | 'trace';
  readonly format: 'human' | 'json';
  /** Whether each line has its time; null: unless systemd's journal adds one. */
  readonly time: boolean | null;
  /** Null: on a terminal. */
  readonly color: boolean | null;
}

/**
 * What somebody can be told about: a run failed; a job that had failed works again; the newest snapshot of a dataset is older
 * than `stale_after` allows.
 */
export type NotificationEvent = 'failure' | 'recovery' | 'stale';

/** Somebody who is told. */
export type Notification = NotificationCore & (CommandNotification | WebhookNotification | MailNotification);

/** What every notification has. */
export interface NotificationCore {
  readonly on: readonly NotificationEvent[];
  /** Names of jobs; null: all. */
  readonly jobs: readonly string[] | null;
  /** A trouble that lasts is told again after this time, in ms. */
  readonly repeatMsMin: number;
  readonly timeoutMs: number;
}

/** Runs a program; what there is to tell is JSON on its standard input and in its environment. */
export interface CommandNotification {
  readonly type: 'command';
  readonly argv: readonly [string, ...string[]];
}

/** Posts JSON. */
export interface WebhookNotification {
  readonly type: 'webhook';
  /** The address, or the file whose first line it is: one of the two is null. An address may be a secret. */
  readonly url: string | null;
  readonly urlFile: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /** File with a token for `Authorization: Bearer`; null: none. */
  readonly bearerTokenFile: string | null;
}

/** Sends mail. */
export interface MailNotification {
  readonly type: 'mail';
  readonly server: {
    readonly host: string;
    readonly port: number;
    /** `tls` from the first byte, `starttls` (refusing to go on without), or `none`. */
    readonly security: 'tls' | 'starttls' | 'none';
    /** Null: no login. */
    readonly user: string | null;
    readonly passwordFile: string | null;
  };
  readonly from: string;
  readonly to: readonly [string, ...string[]];
}
