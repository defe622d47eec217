import { UsageError } from './usage-error.ts';

/** What is asked of the source's snapshots before it is read: nothing, a new one, or what a new one would hold. */
export type SnapshotMode = 'none' | 'take' | 'plan';

/** How a new snapshot is made. */
export interface SnapshotChoices {
  /** Null: prefix and time. */
  readonly name: string | null;
  /** Null: the default one. */
  readonly prefix: string | null;
  /** Of a directory: files to be left out, as in .gitignore. Else: datasets to be left out, as filter patterns below the root. */
  readonly exclude: readonly string[];
}

/** How a source makes its streams. What a backend does not know is false. */
export interface SendChoices {
  /** Blocks as they are on the disk, encrypted ones encrypted. */
  readonly raw: boolean;
  /** With the properties of the dataset; they are taken over at the target, too. */
  readonly properties: boolean;
}

/** How a target stores what it receives. What a backend does not know is empty or null. */
export interface ReceiveChoices {
  /** Properties to set, `name=value` each. */
  readonly options: readonly string[];
  /** Properties not to take from the source. */
  readonly exclude: readonly string[];
  /** Of parents made only to hold what is received. Null: not said, which is an error below an encrypted dataset. */
  readonly placeholderEncryption: PlaceholderEncryption | null;
  /** Only snapshots whose name begins so are received. Null: all. */
  readonly fromSnapshots: string | null;
}

/** Whether a placeholder below an encrypted dataset is encrypted like it, or not at all. */
export type PlaceholderEncryption = 'inherit' | 'off';

/** The values `--placeholder-encryption` takes. */
export const placeholderEncryptions: readonly PlaceholderEncryption[] = ['inherit', 'off'];

/** No special choices about a snapshot. */
export const defaultChoices: SnapshotChoices = { name: null, prefix: null, exclude: [] };
/** Streams as the backend makes them by itself. */
export const defaultSend: SendChoices = { raw: false, properties: false };
/** Nothing set, and everything received. */
export const defaultReceive: ReceiveChoices = {
  options: [],
  exclude: [],
  placeholderEncryption: null,
  fromSnapshots: null,
};

/** For `parseArgs`, as {@link flagsOfSnapshot} writes them. */
export const snapshotFlagOptions = {
  'snapshot-name': { type: 'string' },
  'snapshot-prefix': { type: 'string' },
  exclude: { type: 'string', multiple: true },
} as const;

/** For `parseArgs`, as {@link flagsOfSend} writes them. */
export const sendFlagOptions = {
  raw: { type: 'boolean' },
  'send-properties': { type: 'boolean' },
} as const;

/** For `parseArgs`, as {@link flagsOfReceive} writes them. */
export const receiveFlagOptions = {
  'recv-option': { type: 'string', multiple: true },
  'recv-exclude': { type: 'string', multiple: true },
  'placeholder-encryption': { type: 'string' },
  'from-snapshots': { type: 'string' },
} as const;

/** `--option=value` in one word, so that a value may begin with `-`. {@link snapshotOfFlags} reads it back. */
export function flagsOfSnapshot({ name, prefix, exclude }: SnapshotChoices): string[] {
  return [
    ...(name === null ? [] : [`--snapshot-name=${name}`]),
    ...(prefix === null ? [] : [`--snapshot-prefix=${prefix}`]),
    ...exclude.map((pattern) => `--exclude=${pattern}`),
  ];
}

/** As {@link flagsOfSnapshot}. */
export function flagsOfSend({ raw, properties }: SendChoices): string[] {
  return [...(raw ? ['--raw'] : []), ...(properties ? ['--send-properties'] : [])];
}

/** As {@link flagsOfSnapshot}. */
export function flagsOfReceive({ options, exclude, placeholderEncryption, fromSnapshots }: ReceiveChoices): string[] {
  return [
    ...options.map((option) => `--recv-option=${option}`),
    ...exclude.map((name) => `--recv-exclude=${name}`),
    ...(placeholderEncryption === null ? [] : [`--placeholder-encryption=${placeholderEncryption}`]),
    ...(fromSnapshots === null ? [] : [`--from-snapshots=${fromSnapshots}`]),
  ];
}

/** What `parseArgs` has read. */
export type FlagValues = Readonly<Record<string, unknown>>;

/** The inverse of {@link flagsOfSnapshot}. */
export function snapshotOfFlags(values: FlagValues): SnapshotChoices {
  return {
    name: text(values, 'snapshot-name'),
    prefix: text(values, 'snapshot-prefix'),
    exclude: texts(values, 'exclude'),
  };
}

/** The inverse of {@link flagsOfSend}. */
export function sendOfFlags(values: FlagValues): SendChoices {
  return { raw: values['raw'] === true, properties: values['send-properties'] === true };
}

/** The inverse of {@link flagsOfReceive}. @throws UsageError */
export function receiveOfFlags(values: FlagValues): ReceiveChoices {
  const encryption = text(values, 'placeholder-encryption');
  const known = placeholderEncryptions.find((name) => name === encryption) ?? null;
  if (encryption !== null && known === null) {
    throw new UsageError(
      `--placeholder-encryption is ${placeholderEncryptions.join(' or ')}, not ${JSON.stringify(encryption)}`,
    );
  }
  return {
    options: texts(values, 'recv-option'),
    exclude: texts(values, 'recv-exclude'),
    placeholderEncryption: known,
    fromSnapshots: text(values, 'from-snapshots'),
  };
}

/** The value of one flag; null if it is not there. */
export function text(values: FlagValues, name: string): string | null {
  const value = values[name];
  return typeof value === 'string' ? value : null;
}

function texts(values: FlagValues, name: string): readonly string[] {
  const value = values[name];
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

/** @throws UsageError when both are asked for */
export function snapshotModeOf(take: boolean, plan: boolean): SnapshotMode {
  if (take && plan) throw new UsageError('--snapshot and --snapshot-dry-run exclude each other');
  return take ? 'take' : plan ? 'plan' : 'none';
}
