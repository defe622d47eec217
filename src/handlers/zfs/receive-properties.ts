import { SnapferryError } from '../../errors.ts';
import { placeholderProperty } from './names-ours.ts';

/** What a received dataset gets as properties. */
export interface ReceivePropertyOptions {
  /**
   * Set on every dataset received (`zfs recv -o`), by name. On top of `readonly=on`, without which reading a mounted copy can
   * already stop the next receive; give `readonly` another value, or inherit it, to do without.
   */
  readonly override?: Readonly<Record<string, string>> | undefined;
  /** Never taken from the sender, but inherited or left as they are here (`zfs recv -x`). */
  readonly inherit?: readonly string[] | undefined;
  /**
   * Whether properties that the sender sends with the stream (`zfs send -p`) are taken over. Default: no. Even then those of
   * {@link guardedProperties} are not.
   */
  readonly fromSender?: boolean | undefined;
  /** Which of {@link guardedProperties} are taken over all the same. */
  readonly trusted?: readonly string[] | undefined;
}

/**
 * Properties by which whoever sends a dataset would reach beyond it: where it is mounted, with what rights, who else can see it,
 * how much of the pool it takes, and what we think of it.
 */
export const guardedProperties: readonly string[] = [
  'mountpoint',
  'canmount',
  'overlay',
  'sharenfs',
  'sharesmb',
  'exec',
  'setuid',
  'devices',
  'zoned',
  'snapdir',
  'snapdev',
  'volmode',
  'quota',
  'refquota',
  'reservation',
  'refreservation',
  'filesystem_limit',
  'snapshot_limit',
  placeholderProperty,
];

/** What `zfs recv` refuses for a volume. */
const onlyOfFilesystems = new Set([
  'mountpoint',
  'canmount',
  'overlay',
  'sharenfs',
  'sharesmb',
  'exec',
  'setuid',
  'devices',
  'zoned',
  'snapdir',
  'quota',
  'refquota',
  'filesystem_limit',
  'recordsize',
  'atime',
  'relatime',
  'acltype',
  'aclinherit',
  'aclmode',
  'xattr',
  'dnodesize',
  'special_small_blocks',
  'vscan',
  'nbmand',
  'casesensitivity',
  'normalization',
  'utf8only',
  'version',
]);

/** What `zfs recv` refuses for a filesystem. */
const onlyOfVolumes = new Set(['volsize', 'volblocksize']);

const namePattern = /^[a-z][a-z0-9_:.-]*$/;
const nameBytesMax = 255;
const valueBytesMax = 8191;

/** Properties of one receive. */
export interface ReceiveProperties {
  /** `-o`, name and value. */
  readonly override: readonly (readonly [string, string])[];
  /** `-x` */
  readonly exclude: readonly string[];
}

/**
 * Refuses properties that ZFS would not take or that could be something else on a command line.
 * @throws SnapferryError `INVALID_REQUEST`
 */
export function checkReceiveProperties({ override = {}, inherit = [], trusted = [] }: ReceivePropertyOptions): void {
  for (const name of [...Object.keys(override), ...inherit, ...trusted]) {
    if (!namePattern.test(name) || name.length > nameBytesMax) refuse(name, 'is no name of a property');
  }
  for (const [name, value] of Object.entries(override)) {
    if (/[\u0000-\u001f\u007f]/.test(value)) refuse(name, 'has a value with a control character');
    if (Buffer.byteLength(value) > valueBytesMax) refuse(name, `has a value of over ${valueBytesMax} bytes`);
    if (inherit.includes(name)) refuse(name, 'is to be set and to be inherited; choose one');
  }
}

function refuse(name: string, why: string): never {
  throw new SnapferryError('INVALID_REQUEST', `the property ${JSON.stringify(name.slice(0, 300))} ${why}`);
}

/**
 * The properties to be set and left out in a receive.
 * @param stream what is received: volumes and filesystems know different properties, and only a package carries any
 */
export function receiveProperties(
  { override = {}, inherit = [], trusted = [] }: ReceivePropertyOptions,
  stream: { readonly kind: string; readonly carriesProperties: boolean },
): ReceiveProperties {
  const unknownHere = stream.kind === 'volume' ? onlyOfFilesystems : onlyOfVolumes;
  const isKnown = (name: string): boolean => !unknownHere.has(name);
  const set = inherit.includes('readonly') ? override : { readonly: 'on', ...override };
  const guarded = stream.carriesProperties ? guardedProperties.filter((name) => !trusted.includes(name)) : [];
  const exclude = new Set([...inherit, ...guarded].filter((name) => !Object.hasOwn(set, name)));
  return {
    override: Object.entries(set).filter(([name]) => isKnown(name)),
    exclude: [...exclude].filter(isKnown),
  };
}
