/** What is done to keep the next transfer possible: the handler's `ZfsProtection`. */
export type Protection = 'resumability' | 'incremental' | 'nothing';

/** `replication` of a job. */
export interface ReplicationSettings {
  /** `guarantee_…` of the configuration, for the first transfer of a dataset and for those after it. */
  readonly protection: { readonly initial: Protection; readonly incremental: Protection };
  readonly concurrency: {
    /** Datasets replicated at the same time, each over a connection of its own. */
    readonly steps: number;
    /** Estimates asked for at the same time. */
    readonly sizeEstimates: number;
  };
  /** What a run does about errors that may pass: attempts in all, and the waits between them, which grow. */
  readonly retry: { readonly attemptsMax: number; readonly waitMsMin: number; readonly waitMsMax: number };
  /** A run in which nothing at all moves for so long is ended, in ms. */
  readonly stallMsMax: number;
  /** Only snapshots whose names begin so are sent; null: all. */
  readonly snapshotPrefix: string | null;
}

/** What to do about a dataset that the target has nothing of: send the newest snapshot, all, or fail until a person has looked. */
export type InitialReplication = 'most_recent' | 'all' | 'fail';

/** A limit of the payload of all transfers of a job together. */
export interface BandwidthLimit {
  /** Bytes a second. */
  readonly bytesPerSecondMax: number;
  /** Bytes that may be sent at once after a pause. */
  readonly burstBytesMax: number;
}

/** `send` of a job; but for the bandwidth it only concerns the backend `zfs`. */
export interface SendSettings {
  /** Null: encrypted datasets raw, others as they are. True: the same, and what is not encrypted is refused. False: all in the clear. */
  readonly encrypted: boolean | null;
  readonly raw: boolean;
  readonly sendProperties: boolean;
  readonly largeBlocks: boolean;
  readonly compressed: boolean;
  readonly embeddedData: boolean;
  /** Null: none. */
  readonly bandwidthLimit: BandwidthLimit | null;
}

/** `recv` of a job; but for the bandwidth it only concerns the backend `zfs`. */
export interface ReceiveSettings {
  readonly properties: {
    /** Set on every dataset received. */
    readonly override: Readonly<Record<string, string>>;
    /** Never taken from the sender. */
    readonly inherit: readonly string[];
    /** Whether properties in the stream are taken over at all. */
    readonly fromSender: boolean;
    /** Which of those that reach beyond the dataset (mountpoint, quota, …) are taken over, too. */
    readonly trusted: readonly string[];
  };
  /** Encryption of datasets made only so that others have a parent; `unspecified`: refuse when it matters. */
  readonly placeholderEncryption: 'unspecified' | 'inherit' | 'off';
  /** Null: none. */
  readonly bandwidthLimit: BandwidthLimit | null;
}
