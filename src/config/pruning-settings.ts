/** What a job removes. Each side removes its own; nothing is ever removed over a connection. */
export interface PruningSettings {
  /** The datasets of this machine (`keep_sender`; `keep` of `source` and `snap`). Null: nothing is removed of them. */
  readonly sender: Retention | null;
  /** The copies stored on this machine (`keep_receiver`; `keep` of `sink`). Null: nothing is removed of them. */
  readonly receiver: Retention | null;
}

/** What is kept of the snapshots of one side. */
export interface Retention {
  /** Each may keep a snapshot; one that is enough is enough. Never empty. */
  readonly keep: readonly KeepRule[];
  /** What becomes of a snapshot that no rule speaks of. */
  readonly others: 'keep' | 'destroy';
}

/**
 * One rule of a {@link Retention}; what the retention layer takes. A regex is what `compileNamePattern` reads, and is known to be
 * valid; null: every name.
 */
export type KeepRule =
  /** The newest `count`. */
  | { readonly type: 'last_n'; readonly count: number; readonly regex: string | null }
  /** Thinned out with age: what `parseGrid` reads, and is known to be valid. */
  | { readonly type: 'grid'; readonly grid: string; readonly regex: string | null }
  /** Whatever has (or with `negate` has not) such a name. */
  | { readonly type: 'regex'; readonly regex: string; readonly negate: boolean }
  /** What is not known to have arrived at every other side that replicates it. Only of a sender. */
  | { readonly type: 'not_replicated' }
  /** A floor: what is younger is never removed, whatever else is said. */
  | { readonly type: 'keep_for'; readonly ageMs: number; readonly regex: string | null };
