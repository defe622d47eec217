import { z } from 'zod';

/** The JSON documents of `snapshot`, `list`, `verify` and `holds`, which also travel between two machines. Guids are text. */
const version = z.object({
  type: z.string(),
  name: z.string(),
  guid: z.string().regex(/^\d{1,20}$/),
  creation: z.string().nullable(),
});
const count = z.int().nonnegative();

/** A version with what its backend knows of it. */
const listedVersion = version.extend({
  entries: count.nullable(),
  bytes: count.nullable(),
  missing: count.nullable(),
});

/** What `snapferry list --json` prints. */
export const listDocument = z.object({
  command: z.literal('list'),
  location: z.string(),
  /** Of a directory; null for a backend in which a copy looks like any other dataset. */
  kind: z.enum(['live', 'copy']).nullable(),
  /** Of the location itself, oldest first. */
  versions: z.array(listedVersion),
  /** With `--recursive`: of the location and every dataset below it. */
  datasets: z.array(z.object({ dataset: z.string(), versions: z.array(listedVersion) })).nullable(),
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

/** What became of one dataset. Counts are null where the backend does not count. */
const takenSnapshot = z.object({
  /** Whether one was taken, or with `dryRun`, would be. */
  taken: z.boolean(),
  snapshot: version.nullable(),
  added: count.nullable(),
  changed: count.nullable(),
  removed: count.nullable(),
  bytes: count.nullable(),
  notices: z.array(z.string()),
  missing: z.array(z.string()),
});

/** What `snapferry snapshot --json` prints. At the top: of the location itself. */
export const snapshotDocument = takenSnapshot.extend({
  command: z.literal('snapshot'),
  location: z.string(),
  dryRun: z.boolean(),
  /** With `--recursive`: of the location and every dataset below it. */
  datasets: z.array(takenSnapshot.extend({ dataset: z.string() })).nullable(),
});
export type SnapshotDocument = z.output<typeof snapshotDocument>;

/** What `snapferry holds --json` and `snapferry release --json` print. */
export const tracesDocument = z.object({
  command: z.enum(['holds', 'release']),
  location: z.string().nullable(),
  /** Of `release`: whether nothing was removed. */
  dryRun: z.boolean(),
  traces: z.array(
    z.object({
      dataset: z.string(),
      name: z.string(),
      kind: z.enum(['STEP', 'LAST', 'CURSOR', 'TENTATIVE']),
      identity: z.string(),
      job: z.string(),
    }),
  ),
});
export type TracesDocument = z.output<typeof tracesDocument>;

/** A version as it stands in the documents. */
export function versionInDocument(of: {
  readonly type: string;
  readonly name: string;
  readonly guid: bigint;
  readonly creation: string | null;
}): z.output<typeof version> {
  return { type: of.type, name: of.name, guid: of.guid.toString(), creation: of.creation };
}
