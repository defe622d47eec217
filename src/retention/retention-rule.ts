/** A rule that may keep snapshots. A regex is one that `compileNamePattern` takes; null: every name. */
export type RetentionRule =
  /** The newest `count`, in the order in which they came to be here. */
  | { readonly type: 'last_n'; readonly count: number; readonly regex: string | null }
  /** Thinned out with age, see `parseGrid`. */
  | { readonly type: 'grid'; readonly grid: string; readonly regex: string | null }
  /** Whatever has (or with `negate` has not) such a name. */
  | { readonly type: 'regex'; readonly regex: string; readonly negate: boolean }
  /** What is not known to be at every other side that replicates it. */
  | { readonly type: 'not_replicated' }
  /** What has been on this machine for less than `ageMs`: a floor that nothing overrides. */
  | { readonly type: 'keep_for'; readonly ageMs: number; readonly regex: string | null };
