import { randomBytes } from 'node:crypto';

/** What a command prints and with what it exits. */
export interface Outcome {
  readonly status: number;
  readonly stdout?: string;
  readonly stderr?: string;
}

export interface FakeVersion {
  name: string;
  readonly guid: bigint;
  readonly createTXG: bigint;
  readonly creation: number;
}

export interface FakeSnapshot extends FakeVersion {
  readonly content: Buffer;
  readonly holds: Set<string>;
}

/** What an interrupted receive has left. */
export interface FakePartial {
  readonly toGuid: bigint;
  readonly fromGuid: bigint;
  readonly toName: string;
  readonly creation: number;
  readonly isRaw: boolean;
  /** Content received. */
  content: Buffer;
}

export class FakeDataset {
  name: string;
  readonly type: 'filesystem' | 'volume';
  readonly guid = randomGuid();
  readonly properties = new Map<string, string>();
  snapshots: FakeSnapshot[] = [];
  bookmarks: FakeVersion[] = [];
  content: Buffer = Buffer.alloc(0);
  /** Changed since the newest snapshot. */
  isModified = false;
  isEncrypted = false;
  isKeyLoaded = true;
  partial: FakePartial | null = null;
  isReceiving = false;

  constructor(name: string, type: 'filesystem' | 'volume' = 'filesystem') {
    this.name = name;
    this.type = type;
  }

  /** The snapshot or bookmark with this name, `@one` or `#one`. */
  version(suffix: string): FakeSnapshot | FakeVersion | undefined {
    const list: readonly FakeVersion[] = suffix.startsWith('@') ? this.snapshots : this.bookmarks;
    return list.find(({ name }) => name === suffix.slice(1));
  }
}

export function randomGuid(): bigint {
  return randomBytes(8).readBigUInt64BE() | 1n;
}

/** Datasets in memory that behave as recorded ones did. */
export class FakePool {
  readonly datasets = new Map<string, FakeDataset>();
  /** guids of snapshots whose receive fails when all of it is there, as when the pool is full. */
  readonly unreceivable = new Set<bigint>();
  #txg = 10n;
  #seconds = 1_795_207_320;

  create(name: string, type: 'filesystem' | 'volume' = 'filesystem'): FakeDataset {
    const dataset = new FakeDataset(name, type);
    dataset.isEncrypted = this.parentOf(name)?.isEncrypted ?? false;
    this.datasets.set(name, dataset);
    return dataset;
  }

  parentOf(name: string): FakeDataset | undefined {
    return this.datasets.get(name.slice(0, name.lastIndexOf('/')));
  }

  /** At or below a dataset, parents first. */
  below(name: string): FakeDataset[] {
    const all = [...this.datasets.values()].filter((item) => item.name === name || item.name.startsWith(`${name}/`));
    return all.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  nextTXG(): bigint {
    return this.#txg++;
  }

  /** Takes a snapshot of what the dataset has. */
  snapshot(dataset: string, name: string, content?: Buffer): FakeSnapshot {
    const owner = this.get(dataset);
    if (content !== undefined) owner.content = content;
    const snapshot: FakeSnapshot = {
      name,
      guid: randomGuid(),
      createTXG: this.nextTXG(),
      creation: this.#seconds++,
      content: owner.content,
      holds: new Set(),
    };
    owner.snapshots.push(snapshot);
    owner.isModified = false;
    return snapshot;
  }

  /** Makes a bookmark of a version. */
  bookmark(dataset: string, of: FakeVersion, name: string): FakeVersion {
    const { guid, createTXG, creation } = of;
    const bookmark = { name, guid, createTXG, creation };
    this.get(dataset).bookmarks.push(bookmark);
    return bookmark;
  }

  /** Destroys a version whatever holds it. */
  destroy(dataset: string, suffix: string): void {
    const owner = this.get(dataset);
    const version = owner.version(suffix);
    if (version === undefined) throw new Error(`no ${dataset}${suffix}`);
    owner.snapshots = owner.snapshots.filter((other) => other !== version);
    owner.bookmarks = owner.bookmarks.filter((other) => other !== version);
  }

  get(name: string): FakeDataset {
    const dataset = this.datasets.get(name);
    if (dataset === undefined) throw new Error(`no dataset ${name}`);
    return dataset;
  }

  /** The holds there are, `tank/home@one: tag`. */
  holds(): string[] {
    return [...this.datasets.values()].flatMap(({ name, snapshots }) =>
      snapshots.flatMap((snapshot) => [...snapshot.holds].map((tag) => `${name}@${snapshot.name}: ${tag}`)),
    );
  }
}
