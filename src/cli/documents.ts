import { z } from 'zod';

/** The JSON documents of `snapshot`, `list` and `verify`, which also travel between two machines. Guids are text. */
const version = z.object({
  type: z.string(),
  name: z.string(),
  guid: z.string().regex(/^\d{1,20}$/),
  creation: z.string().nullable(),
});
const count = z.int().nonnegative();

/** What `snapferry list --json` prints. */
export const listDocument = z.object({
  command: z.literal('list'),
  location: z.string(),
  kind: z.enum(['live', 'copy']),
  /** Oldest first. */
  versions: z.array(version.extend({ entries: count.nullable(), bytes: count.nullable(), missing: count.nullable() })),
});
export type ListDocument = z.output<typeof listDocument>;

/** What `snapferry verify --json` prints. */
export const verifyDocument = z.object({
  command: z.literal('verify'),
  location: z.string(),
  snapshot: version,
  ok: z.boolean(),
  files: count,
  bytes: count,
  damaged: z.array(z.object({ path: z.string(), problem: z.string() })),
});
export type VerifyDocument = z.output<typeof verifyDocument>;

/** What `snapferry snapshot --json` prints. */
export const snapshotDocument = z.object({
  command: z.literal('snapshot'),
  location: z.string(),
  dryRun: z.boolean(),
  /** Whether one was taken, or with `dryRun`, would be. */
  taken: z.boolean(),
  snapshot: version.nullable(),
  added: count,
  changed: count,
  removed: count,
  bytes: count,
  notices: z.array(z.string()),
  missing: z.array(z.string()),
});
export type SnapshotDocument = z.output<typeof snapshotDocument>;

/** A version as it stands in the documents. */
export function versionInDocument(of: {
  readonly type: string;
  readonly name: string;
  readonly guid: bigint;
  readonly creation: string | null;
}): z.output<typeof version> {
  return { type: of.type, name: of.name, guid: of.guid.toString(), creation: of.creation };
}
