import { formatDatasetPath, sameDataset } from '../../dataset.ts';
import type { DatasetPath } from '../../dataset.ts';
import { SnapferryError } from '../../errors.ts';
import { checkDatasetName, datasetName, datasetPath } from './names.ts';

/** A dataset on offer, with or without those below it. */
export interface ZfsRoot {
  /** Its name: `tank/home`. */
  readonly dataset: string;
  /** Under which peers see it, and those below it. Default: its own name. */
  readonly path?: DatasetPath | undefined;
  /** Whether those below it are on offer, too. Default true. */
  readonly recursive?: boolean | undefined;
}

/** A part of a root that somebody wants to see. */
export interface RootPart {
  readonly root: ZfsRoot;
  /** Name of the dataset at its top. */
  readonly dataset: string;
  readonly recursive: boolean;
  /** Whether it is the whole root, which is an error if it is not there. */
  readonly isWhole: boolean;
}

/** Which datasets of this machine are on offer, and under which paths. */
export class ZfsRoots {
  readonly #roots: readonly (ZfsRoot & { readonly path: DatasetPath; readonly recursive: boolean })[];
  readonly #includes: (dataset: string) => boolean;

  /** @throws SnapferryError `INVALID_REQUEST` for an impossible name or path */
  constructor(roots: readonly ZfsRoot[], includes: (dataset: string) => boolean) {
    this.#includes = includes;
    this.#roots = roots.map(({ dataset, path = datasetPath(dataset), recursive = true }) => {
      checkDatasetName(dataset);
      return { dataset, path, recursive };
    });
  }

  /**
   * The dataset a peer means.
   * @throws SnapferryError `INVALID_REQUEST` for an impossible name, `DATASET_NOT_FOUND` for one that is not on offer
   */
  locate(path: DatasetPath): string {
    datasetName(path);
    const shown = formatDatasetPath(path);
    // The deepest root counts where several fit.
    const fitting = this.#roots
      .filter((root) => isAtOrBelow(path, root.path) && (root.recursive || path.length === root.path.length))
      .sort((a, b) => b.path.length - a.path.length);
    const [root] = fitting;
    const dataset = root && [root.dataset, ...path.slice(root.path.length)].join('/');
    if (dataset === undefined || !this.#includes(dataset)) {
      throw new SnapferryError('DATASET_NOT_FOUND', `there is no dataset "${shown}" here`);
    }
    checkDatasetName(dataset);
    return dataset;
  }

  /** What to look at for somebody who wants to see what is at or below these paths; null: everything. */
  partsFor(wanted: readonly string[] | null): RootPart[] {
    const paths = wanted?.map((text) => text.split('/').filter((component) => component !== '')) ?? [[]];
    return this.#roots.flatMap((root) =>
      paths.flatMap((path): RootPart[] => {
        const { dataset, recursive } = root;
        if (isAtOrBelow(root.path, path)) return [{ root, dataset, recursive, isWhole: true }];
        if (!recursive || !isAtOrBelow(path, root.path)) return [];
        const below = [dataset, ...path.slice(root.path.length)].join('/');
        return isPossible(below) ? [{ root, dataset: below, recursive, isWhole: false }] : [];
      }),
    );
  }

  /** The path of a dataset found in a part; null if it is not on offer, or under another root's path. */
  pathOf({ root }: RootPart, dataset: string): DatasetPath | null {
    if (!this.#includes(dataset)) return null;
    const below = dataset.slice(root.dataset.length).split('/').slice(1);
    const path = [...(root.path ?? datasetPath(root.dataset)), ...below];
    try {
      return this.locate(path) === dataset ? path : null;
    } catch {
      return null;
    }
  }
}

function isAtOrBelow(path: DatasetPath, top: DatasetPath): boolean {
  return path.length >= top.length && sameDataset(path.slice(0, top.length), top);
}

function isPossible(name: string): boolean {
  try {
    checkDatasetName(name);
    return true;
  } catch {
    return false;
  }
}
