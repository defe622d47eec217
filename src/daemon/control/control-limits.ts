/** Every bound of the control socket. Times in ms. */
export interface ControlLimits {
  /** Clients at a time; more are told `BUSY`. */
  readonly clientsMax: number;
  /** A command with its options, as one line without its end. */
  readonly commandBytesMax: number;
  /** How long a client may stay without a command. */
  readonly idleMsMax: number;
  /** How long a command may take to arrive once its first byte has. */
  readonly receiveMsMax: number;
  /** How long a client may take nothing of what is sent to it. Not for streams that were taken over. */
  readonly sendMsMax: number;
  /** How often a client that sends no more is asked, by an empty progress, whether it still waits for its answer. */
  readonly probeMs: number;
  /** How long a command may take to end after its signal was aborted, before its connection is dropped all the same. */
  readonly settleMsMax: number;
}

/** The defaults of {@link ControlLimits}. */
export const defaultControlLimits: ControlLimits = {
  clientsMax: 64,
  commandBytesMax: 64 * 1024,
  idleMsMax: 30 * 60_000,
  receiveMsMax: 10_000,
  sendMsMax: 30_000,
  probeMs: 5000,
  settleMsMax: 5000,
};
