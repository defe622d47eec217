import { usageNow, type Usage } from './end-options.ts';

/** The asking end of one connection, however it talks. */
export interface AskingTalk {
  /**
   * Has the other end send that many bytes, and resolves when they are all here.
   * @param bytesPerSecondMax how fast they are taken; as fast as they come if absent
   */
  transfer(bytes: number, bytesPerSecondMax?: number): Promise<void>;
  /** One request and its answer: the three versions of a dataset. */
  request(): Promise<void>;
  /** What the other end has used so far. */
  usage(): Promise<Usage>;
  /** Ends the connection, and resolves when the other end has noticed. */
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

/** A version as those send it that know no integers beyond 2^53. */
export interface WireVersion {
  readonly type: string;
  readonly name: string;
  readonly guid: string;
  readonly createTXG: string;
  readonly creation: string;
}

/** {@link versions} as they are sent. */
export const wireVersions: readonly WireVersion[] = versions.map((version) => ({
  ...version,
  guid: version.guid.toString(),
  createTXG: version.createTXG.toString(),
}));

/** The dataset every request is about. */
export const dataset = ['tank', 'home', 'bench'] as const;

/** What is asked of an end that does not speak the RPC. */
export type Command =
  | { readonly ask: 'bytes'; readonly bytes: number }
  | { readonly ask: 'versions'; readonly of: readonly string[] }
  | { readonly ask: 'usage' };

/** The request for {@link versions}. */
export const versionsCommand: Command = { ask: 'versions', of: dataset };

/** What a command is answered with that asks for no bytes. */
export function answerTo(command: Exclude<Command, { readonly ask: 'bytes' }>): Usage | readonly WireVersion[] {
  return command.ask === 'usage' ? usageNow() : wireVersions;
}

/** Refuses an answer that has not all of {@link versions}. */
export function requireVersions(answer: unknown): void {
  const count = Array.isArray(answer) ? answer.length : -1;
  if (count !== versions.length) throw new Error(`received ${count} versions where ${versions.length} were sent`);
}

/** Refuses a transfer that is not whole: a measurement of something else is worse than none. */
export function requireBytes(received: number, expected: number): void {
  if (received !== expected) throw new Error(`received ${received} bytes where ${expected} were sent`);
}
