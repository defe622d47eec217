import type { ErrorCode } from '../../errors.ts';
import { isUUID, type UUID } from './uuid.ts';

/** One line of `btrfs subvolume list`. */
export interface ListedSubvolume {
  readonly id: number;
  readonly generation: bigint;
  /** Generation at which it was made. */
  readonly createdGeneration: bigint;
  readonly parentUUID: UUID | null;
  readonly receivedUUID: UUID | null;
  readonly uuid: UUID;
  /** From the top of the file system, whatever is mounted. */
  readonly topPath: string;
}

const listLine = new RegExp(
  '^ID (\\d+) gen (\\d+) cgen (\\d+) parent \\d+ top level \\d+ ' +
    'parent_uuid (\\S+) +received_uuid (\\S+) +uuid (\\S+) +path (?:<FS_TREE>/)?(.+)$',
);

/**
 * Reads `list -a -puqRcg`, where `<FS_TREE>/` is in front of what is not directly in the subvolume that was named. A line that is not as it should be is left out: it is the rest of a name with a newline, or a subvolume of
 * which btrfs itself no longer knows the name.
 */
export function parseList(text: string): ListedSubvolume[] {
  return text.split('\n').flatMap((line) => {
    const [, id, generation, created, parentUUID, receivedUUID, uuid, topPath] = listLine.exec(line) ?? [];
    if (uuid === undefined || topPath === undefined || !isUUID(uuid)) return [];
    return {
      id: Number(id),
      generation: BigInt(generation ?? 0),
      createdGeneration: BigInt(created ?? 0),
      parentUUID: orNull(parentUUID),
      receivedUUID: orNull(receivedUUID),
      uuid,
      topPath,
    };
  });
}

function orNull(text: string | undefined): UUID | null {
  return text !== undefined && isUUID(text) ? text : null;
}

const timeLine = /^ID \d+ gen \d+ (?:cgen \d+ )?top level \d+ otime (\S+) (\S+) uuid (\S+) +path /;

/** Reads `list -r -s -u` printed in UTC: when each was made, RFC 3339, by UUID. */
export function parseTimes(text: string): Map<UUID, string> {
  const times = new Map<UUID, string>();
  for (const line of text.split('\n')) {
    const [, day, time, uuid] = timeLine.exec(line) ?? [];
    if (day !== undefined && time !== undefined && uuid !== undefined) times.set(uuid, `${day}T${time}Z`);
  }
  return times;
}

/** What `btrfs subvolume show` says of one. */
export interface ShownSubvolume {
  readonly uuid: UUID;
  readonly parentUUID: UUID | null;
  readonly receivedUUID: UUID | null;
  /** When it was made, RFC 3339; null when the tool does not know. */
  readonly creation: string | null;
  readonly generation: bigint;
  readonly createdGeneration: bigint;
  readonly isReadOnly: boolean;
}

/** Reads `subvolume show`; null for anything else. */
export function parseShow(text: string): ShownSubvolume | null {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, name, value] = /^\t([A-Z][A-Za-z ]*): ?\t+(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined && !fields.has(name)) fields.set(name, value.trim());
  }
  const uuid = fields.get('UUID') ?? '';
  const generations = [fields.get('Generation') ?? '', fields.get('Gen at creation') ?? ''];
  if (!isUUID(uuid) || !generations.every((generation) => /^\d+$/.test(generation))) return null;
  const [generation = '', created = ''] = generations;
  return {
    uuid,
    parentUUID: orNull(fields.get('Parent UUID')),
    receivedUUID: orNull(fields.get('Received UUID')),
    creation: toRFC3339(fields.get('Creation time') ?? ''),
    generation: BigInt(generation),
    createdGeneration: BigInt(created),
    isReadOnly: (fields.get('Flags') ?? '').split(/[ ,]+/).includes('readonly'),
  };
}

function toRFC3339(text: string): string | null {
  const [, day, time, hours, minutes] = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d)$/.exec(text) ?? [];
  if (day === undefined || time === undefined || hours === undefined || minutes === undefined) return null;
  return `${day}T${time}${hours === '+00' && minutes === '00' ? 'Z' : `${hours}:${minutes}`}`;
}

/** Reads `filesystem du -s --raw`: the bytes referred to, or null. */
export function parseDiskUsage(text: string): number | null {
  const [, total] = /^\s*(\d+)\s+\d+\s+\S+\s+\//m.exec(text) ?? [];
  const bytes = Number(total);
  return total !== undefined && Number.isSafeInteger(bytes) ? bytes : null;
}

/** What the tool's stderr says went wrong, as far as that is known. */
export interface Cause {
  readonly code: ErrorCode;
  /** What a person may do about it. */
  readonly advice: string;
}

// Tried in this order.
const causes: readonly (readonly [RegExp, ErrorCode, string])[] = [
  [/send may be in progress/, 'BUSY', 'it is being sent, or this user may not delete it; try again later, or as root'],
  [/cannot find parent subvolume/, 'VERSION_NOT_FOUND', 'the snapshot it starts from is no longer here; run again'],
  [/No space left on device|Disk quota exceeded/, 'INTERNAL', 'make room on the file system and run again'],
  [/must be run as root|^sudo: .*(password|not allowed|terminal)/im, 'ACCESS_DENIED', 'see docs/btrfs.md on rights'],
  [
    /Operation not permitted|Permission denied|can't perform the search|Could not search B-tree/,
    'ACCESS_DENIED',
    'btrfs needs root for this; run as root, or through "sudo -n" (docs/btrfs.md)',
  ],
  [/[Nn]ot a [Bb]trfs (filesystem|subvolume)|doesn't belong to btrfs/, 'INVALID_REQUEST', 'name a subvolume of btrfs'],
];

/** The cause of a failure, or null when the text is none that is known here; then it speaks for itself. */
export function causeOf(stderr: string): Cause | null {
  for (const [pattern, code, advice] of causes) if (pattern.test(stderr)) return { code, advice };
  return null;
}

/** Whether `btrfs receive` ended because its input did, and for no other reason: then all whole commands were carried out. */
export function isCutInput(stderr: string): boolean {
  const errors = stderr.split('\n').filter((line) => line.startsWith('ERROR: '));
  const isCut = /^ERROR: (?:short read from stream: expected \d+ read \d+|unexpected EOF in stream)$/;
  return errors.length === 1 && isCut.test(errors[0] ?? '');
}
