import { SnapferryError, type ErrorCode } from '../../errors.ts';
import { exitFailure, type CommandIdentity } from '../command-failure.ts';

/** What a failure of `zfs` is about, as far as its text tells. */
export type ZfsCause =
  | 'dataset_not_found'
  | 'version_not_found'
  | 'dataset_exists'
  | 'bookmark_exists'
  | 'tag_exists'
  | 'tag_not_found'
  | 'not_earlier'
  | 'token_unusable'
  | 'nothing_to_abort'
  | 'partial_state'
  | 'busy'
  | 'out_of_space'
  | 'destination_modified'
  | 'destination_exists'
  | 'key_not_loaded'
  | 'encryption_mismatch'
  | 'permission'
  | 'unavailable'
  | 'unknown';

// Tried in this order.
const patterns: readonly (readonly [ZfsCause, RegExp])[] = [
  ['token_unusable', /^cannot resume send: /],
  ['tag_exists', /tag already exists on this dataset/],
  ['tag_not_found', /no such tag on this dataset/],
  ['bookmark_exists', /bookmark exists/],
  ['nothing_to_abort', /does not have any resumable receive state to abort/],
  ['partial_state', /contains partially-complete state/],
  ['encryption_mismatch', /raw receive on top of existing unencrypted|overwrite an unencrypted one with an encrypted/],
  ['encryption_mismatch', /may not be sent with properties without the raw flag/],
  ['key_not_loaded', /key must be loaded|encryption key not loaded/i],
  ['permission', /permission denied|must be run as root|^sudo: .*(password|not allowed|terminal)/i],
  ['out_of_space', /out of space|no space left on device|quota exceeded/i],
  ['destination_modified', /has been modified/],
  ['not_earlier', /not an earlier snapshot from the same fs/],
  ['busy', /(dataset|target) is busy|it's being held/],
  ['version_not_found', /incremental source .* does not exist|bookmark '.*' does not exist|No such process$/],
  ['version_not_found', /'[^']*[@#][^']*': (dataset does not exist|no such pool or dataset)/],
  ['dataset_not_found', /dataset does not exist|no such pool|parent does not exist|destination '.*' does not exist/],
  ['dataset_exists', /dataset already exists/],
  ['destination_exists', /destination '.*' exists|destination has snapshots/],
  ['unavailable', /ZFS modules|ZFS utilities|Failed to (load|initialize)/],
];

const codeOf: Partial<Record<ZfsCause, ErrorCode>> = {
  dataset_not_found: 'DATASET_NOT_FOUND',
  version_not_found: 'VERSION_NOT_FOUND',
  token_unusable: 'RESUME_TOKEN_INVALID',
  not_earlier: 'INVALID_REQUEST',
  partial_state: 'BUSY',
  busy: 'BUSY',
};

const adviceOf: Partial<Record<ZfsCause, string>> = {
  permission: 'grant this user the right with "zfs allow" (see docs/permissions.md), or run zfs through "sudo -n"',
  key_not_loaded: 'load the key with "zfs load-key", or send encrypted datasets raw',
  out_of_space: 'make room in the pool, or raise the quota, and run again',
  unavailable: 'load the ZFS kernel module ("modprobe zfs") and see whether "zfs list" works for this user',
};

/**
 * What went wrong, by the first line of stderr. An exit status says whether something did: the same failure has one status here and
 * another there, so none is looked at.
 */
export function zfsCause(stderr: string): ZfsCause {
  const [line = ''] = stderr.trimStart().split('\n', 1);
  return patterns.find(([, pattern]) => pattern.test(line))?.[0] ?? 'unknown';
}

/**
 * The error of a `zfs` that failed: the code of its cause, `fallback` for every other, its own words as a whole, and what to do
 * where that is known.
 * @param doing what was being done, to what
 */
export function zfsFailure(
  command: CommandIdentity,
  status: number | NodeJS.Signals | null,
  stderr: string,
  { doing, fallback = 'SOURCE_FAILED' }: { readonly doing: string; readonly fallback?: ErrorCode | undefined },
): SnapferryError {
  const cause = zfsCause(stderr);
  const { message } = exitFailure(command, status, stderr);
  const advice = adviceOf[cause];
  return new SnapferryError(
    codeOf[cause] ?? fallback,
    `${doing}: ${message}${advice === undefined ? '' : `; ${advice}`}`,
  );
}
