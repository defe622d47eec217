import type { Usage } from './end-options.ts';

/** The asking end of one connection, however it talks. */
export interface AskingTalk {
  /** Has the other end send that many bytes, and resolves when they are all here. */
  transfer(bytes: number): Promise<void>;
  /** One request and its answer: the three versions of a dataset. */
  request(): Promise<void>;
  /** What the other end has used so far. */
  usage(): Promise<Usage>;
  /** Ends the connection, and resolves when the other end is gone. */
  close(): Promise<void>;
}

/** The versions every request is answered with. */
export const versions = [1, 2, 3].map((number) => ({
  type: 'snapshot',
  name: `snapferry_20260101_00000${number}_000`,
  guid: 4_000_000_000_000_000_000n + BigInt(number) * 1_234_567_890_123n,
  createTXG: 1_000_000n + BigInt(number),
  creation: `2026-01-01T00:00:0${number}.123456789Z`,
}));

/** The dataset every request is about. */
export const dataset = ['tank', 'home', 'bench'] as const;

/** Refuses a transfer that is not whole: a measurement of something else is worse than none. */
export function requireBytes(received: number, expected: number): void {
  if (received !== expected) throw new Error(`received ${received} bytes where ${expected} were sent`);
}
