import { SnapferryError } from '../../errors.ts';
import type { ZfsTool } from './commands-tool.ts';
import { bookmarkArguments, destroyBookmarkArguments, listNamedArguments } from './commands.ts';
import { bookmarkName, parseBookmarkName } from './names-ours.ts';
import type { OurBookmark } from './names-ours.ts';
import { versionName } from './names.ts';
import { zfsCause } from './output-failure.ts';
import { parseVersionDetails } from './output.ts';
import type { VersionDetails } from './output.ts';

/** A bookmark of ours, as it stands in a dataset. */
export interface FoundBookmark extends OurBookmark {
  readonly dataset: string;
  /** After the `#`. */
  readonly name: string;
  readonly createTXG: bigint;
}

/** The bookmarks of ours among these versions. One whose guid is not the one in its name is somebody else's. */
export function findBookmarks(all: readonly VersionDetails[]): FoundBookmark[] {
  return all.flatMap(({ dataset, version }) => {
    const ours = version.type === 'bookmark' ? parseBookmarkName(version.name) : null;
    if (ours?.guid !== version.guid) return [];
    return [{ ...ours, dataset, name: version.name, createTXG: version.createTXG }];
  });
}

/**
 * Makes a bookmark of ours. One that is there already is well.
 * @param of a snapshot or bookmark
 * @throws SnapferryError `VERSION_NOT_FOUND`, `INVALID_REQUEST` if its name would be too long; as `ZfsTool.run` does
 */
export async function makeBookmark(
  tool: ZfsTool,
  of: VersionDetails,
  { kind, isRaw, owner }: Pick<OurBookmark, 'kind' | 'isRaw' | 'owner'>,
  signal?: AbortSignal,
): Promise<FoundBookmark> {
  const { dataset, version } = of;
  const name = bookmarkName({ kind, isRaw, guid: version.guid, owner });
  const fullName = nameInDataset(dataset, name);
  const doing = `making the replication cursor ${fullName}`;
  const { stderr } = await tool.run(bookmarkArguments(versionName(dataset, version), fullName), {
    doing,
    signal,
    accepts: (text) => zfsCause(text) === 'bookmark_exists',
  });
  if (zfsCause(stderr) === 'bookmark_exists') {
    const { stdout } = await tool.run(listNamedArguments([fullName]), { doing, signal });
    const [there] = parseVersionDetails(stdout);
    if (there?.version.guid !== version.guid) {
      const text = `${doing}: there is one of that name for another snapshot, which is not ours; destroy or rename it`;
      throw new SnapferryError('SOURCE_FAILED', text);
    }
  }
  return { dataset, name, kind, isRaw, guid: version.guid, owner, createTXG: version.createTXG };
}

/**
 * Destroys a bookmark of ours. One that has gone is well.
 * @param options `mayBeDenied`: lacking the right to is no error
 * @returns whether it is gone
 * @throws SnapferryError as `ZfsTool.run` does
 */
export async function destroyBookmark(
  tool: ZfsTool,
  { dataset, name }: Pick<FoundBookmark, 'dataset' | 'name'>,
  options: { readonly mayBeDenied?: boolean; readonly signal?: AbortSignal | undefined } = {},
): Promise<boolean> {
  const fullName = versionName(dataset, { type: 'bookmark', name });
  const { stderr } = await tool.run(destroyBookmarkArguments(fullName), {
    doing: `removing the former replication cursor ${fullName}`,
    signal: options.signal,
    accepts(text) {
      const cause = zfsCause(text);
      return cause === 'version_not_found' || (cause === 'permission' && options.mayBeDenied === true);
    },
  });
  return zfsCause(stderr) !== 'permission';
}

function nameInDataset(dataset: string, name: string): string {
  try {
    return versionName(dataset, { type: 'bookmark', name });
  } catch (error) {
    throw new SnapferryError(
      'INVALID_REQUEST',
      `${dataset}#${name} cannot be the name of a replication cursor, which ZFS limits to 255 bytes with the dataset's name; ` +
        'use a shorter job id or client identity, or turn the protection of transfers off',
      { cause: error },
    );
  }
}
