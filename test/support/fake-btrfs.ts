import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BtrfsToolOptions } from '../../src/handlers/btrfs/tool.ts';

/** A subvolume of a {@link FakeBtrfs}. */
export interface FakeSubvolume {
  readonly path: string;
  readonly uuid: string;
  readonly parent?: string;
  readonly received?: string;
  readonly ro?: boolean;
  /** File with what sending it gives. */
  readonly stream?: string;
}

/** Something that goes wrong with commands whose arguments contain `when`. */
export interface FakeTrouble {
  readonly when: string;
  readonly stderr?: string;
  readonly status?: number;
  /** File that is printed before. */
  readonly stdout?: string;
  readonly hangs?: boolean;
}

/** What one run of the tool saw. */
export interface FakeRun {
  readonly args: readonly string[];
  /** Names in the folder it was about. */
  readonly files: readonly string[];
  /** Below `.snapferry` there. */
  readonly notes: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

interface State {
  gen: number;
  lies: boolean;
  top: string;
  subvolumes: object[];
  troubles: readonly FakeTrouble[];
  nextUUIDs: readonly string[];
}

/**
 * A program that takes the place of `btrfs` and keeps its subvolumes as folders, for tests without root and without btrfs; it logs
 * each run. Sending gives a stream that real btrfs made.
 */
export class FakeBtrfs {
  readonly root = realpathSync(mkdtempSync(join(tmpdir(), 'snapferry-fake-btrfs-')));
  /** Where the "file system" is mounted. */
  readonly top = join(this.root, 'top');
  readonly #home = join(this.root, 'bin');
  readonly tool: BtrfsToolOptions;

  constructor() {
    mkdirSync(this.top);
    mkdirSync(this.#home);
    const program = join(this.#home, 'btrfs.mjs');
    copyFileSync(new URL('../fixtures/btrfs/fake-btrfs.mjs', import.meta.url), program);
    this.tool = { program: [process.execPath, program] };
    this.#save({ gen: 10, lies: false, top: this.top, subvolumes: [], troubles: [], nextUUIDs: [] });
  }

  add(subvolume: FakeSubvolume): void {
    mkdirSync(subvolume.path, { recursive: true });
    const { ino } = statSync(subvolume.path);
    this.change((state) => {
      state.gen += 1;
      const { gen } = state;
      state.subvolumes.push({ id: 256 + gen, gen, ino, ro: false, parent: null, received: null, ...subvolume });
    });
  }

  /** From now on these things go wrong, and no others. */
  trouble(...troubles: readonly FakeTrouble[]): void {
    this.change((state) => (state.troubles = troubles));
  }

  change(how: (state: State) => unknown): void {
    const state = JSON.parse(readFileSync(join(this.#home, 'state.json'), 'utf8')) as State;
    how(state);
    this.#save(state);
  }

  #save(state: State): void {
    writeFileSync(join(this.#home, 'state.json'), JSON.stringify(state));
  }

  /** What was run since the last call. */
  runs(): FakeRun[] {
    const path = join(this.#home, 'log.jsonl');
    if (!existsSync(path)) return [];
    const text = readFileSync(path, 'utf8');
    rmSync(path);
    return text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as FakeRun);
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
