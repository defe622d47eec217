import type { JSONValue } from '../chunker/json-message.ts';

/** A message to be read. */
export interface MessageToRead<T> {
  /** For errors. */
  readonly what: string;
  readonly bytesMax: number;
  readonly shape: (value: JSONValue) => T;
  /** It must come, and come now: it is the rest of something that has begun. */
  readonly isDue?: boolean;
  /** How long it may take once begun, or once due, in ms; null for as long as the peer lives. Default 30 s. */
  readonly finishMsMax?: number | null;
  /** Told the size of the payload once it is here. */
  readonly onSize?: (payloadBytes: number) => void;
}
