import { z } from 'zod';
import { connect, serve } from './connection-schemas.ts';
import { everyDataset, filesystems } from './dataset-schemas.ts';
import type { Job, LocalJob, PullJob, PushJob, SinkJob, SnapJob, SourceJob } from './job.ts';
import {
  noPruning,
  pruningOfBoth,
  pruningOfCopies,
  pruningOfOwn,
  pruningOfPull,
  pruningOfPush,
} from './pruning-schemas.ts';
import { cron, duration, expecting, oneOf, parsedText, text } from './scalar-schemas.ts';
import { parseDuration } from '../duration.ts';
import type { Schedule } from './schedule.ts';
import { snapshotting } from './snapshotting-schemas.ts';
import { conflictResolution, recv, replication, replicationOfSource, send } from './transfer-schemas.ts';

const core = {
  name: z
    .string(expecting('a name'))
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$/,
      'a job is named with letters, digits, "_", ".", ":" and "-", beginning with a letter or digit, at most 100',
    )
    .describe('Unique; part of the names of holds and cursors, so do not change it.'),
  backend: oneOf(['zfs', 'btrfs', 'directory']).default('zfs').describe('What stores the datasets of this machine.'),
  stale_after: duration.optional().describe('How old the newest snapshot may be before somebody is told.'),
};

const sending = {
  filesystems,
  snapshotting,
  exclude: z
    .array(text('a pattern'), expecting('a list of patterns'))
    .default([])
    .describe('Backend directory: what is left out of snapshots, in the syntax of .gitignore.'),
  snapshot_folder: text('a folder')
    .optional()
    .describe('Backend btrfs: folder for snapshots, beside the subvolume or absolute.'),
};

const receiving = {
  root_fs: text('the dataset or directory below which copies are stored').describe(
    'Below which copies are stored: a ZFS dataset, or an absolute directory.',
  ),
  recv,
};

const interval = parsedText('a duration such as "10m", or manual', (value): Schedule =>
  value.trim() === 'manual' ? { type: 'manual' } : { type: 'interval', intervalMs: parseDuration(value) },
);

const active = {
  interval: interval.optional().describe('Time from one run to the next, or manual: only when woken.'),
  cron: cron
    .optional()
    .describe('When it runs: minute, hour, day of month, month, day of week. In the time zone of the machine.'),
  replication,
  conflict_resolution: conflictResolution,
};

interface Core {
  readonly name: string;
  readonly backend: Job['backend'];
  readonly stale_after?: number | undefined;
}

function toCore({ name, backend, stale_after }: Core) {
  return { name, backend, staleAfterMs: stale_after ?? null };
}

type Sending = z.output<z.ZodObject<typeof sending>>;

function toSending(written: Sending) {
  const { filesystems: selection, snapshotting: how, exclude, snapshot_folder } = written;
  return { filesystems: selection, snapshotting: how, exclude, snapshotFolder: snapshot_folder ?? null };
}

type Active = z.output<z.ZodObject<typeof active>>;

function toActive(written: Active) {
  const schedule: Schedule =
    written.cron === undefined ? (written.interval ?? { type: 'manual' }) : { type: 'cron', cron: written.cron };
  return { schedule, replication: written.replication, initialReplication: written.conflict_resolution };
}

function hasOneSchedule(written: Active): boolean {
  return written.cron === undefined || written.interval === undefined;
}

const twoSchedules = { path: ['cron'], message: 'and interval exclude each other; leave one out' };

const pull = z
  .strictObject({
    type: z.literal('pull').describe('Fetches from a source on another machine.'),
    ...core,
    connect: connect.describe('How the other side is reached.'),
    ...receiving,
    filesystems: filesystems.optional().describe('Which of the datasets on offer, by their names there. Default: all.'),
    ...active,
    pruning: pruningOfPull.optional().describe('What is kept of the copies; the source keeps and removes its own.'),
  })
  .refine(hasOneSchedule, twoSchedules)
  .refine((written) => written.cron !== undefined || written.interval !== undefined, {
    path: ['interval'],
    message: 'missing: expected a duration such as "10m", or manual (or cron instead)',
  })
  .transform((written): PullJob => ({
    type: written.type,
    ...toCore(written),
    connect: written.connect,
    rootFs: written.root_fs,
    filesystems: written.filesystems ?? everyDataset,
    recv: written.recv,
    ...toActive(written),
    pruning: written.pruning ?? noPruning,
  }));

const push = z
  .strictObject({
    type: z.literal('push').describe('Sends to a sink on another machine.'),
    ...core,
    connect: connect.describe('How the other side is reached.'),
    ...sending,
    send,
    ...active,
    pruning: pruningOfPush
      .optional()
      .describe('What is kept of the snapshots here; the sink keeps and removes its own.'),
  })
  .refine(hasOneSchedule, twoSchedules)
  .transform((written): PushJob => ({
    type: written.type,
    ...toCore(written),
    connect: written.connect,
    ...toSending(written),
    send: written.send,
    ...toActive(written),
    pruning: written.pruning ?? noPruning,
  }));

const source = z
  .strictObject({
    type: z.literal('source').describe('Offers datasets to a pull on another machine.'),
    ...core,
    serve: serve.describe('How this side is reached.'),
    ...sending,
    send,
    replication: replicationOfSource,
    pruning: pruningOfOwn.optional().describe('What is kept of the snapshots here.'),
  })
  .transform((written): SourceJob => ({
    type: written.type,
    ...toCore(written),
    serve: written.serve,
    ...toSending(written),
    send: written.send,
    replication: written.replication,
    pruning: written.pruning ?? noPruning,
  }));

const sink = z
  .strictObject({
    type: z.literal('sink').describe('Stores what pushes of other machines send, each below its identity.'),
    ...core,
    serve: serve.describe('How this side is reached.'),
    ...receiving,
    pruning: pruningOfCopies.optional().describe('What is kept of the copies.'),
  })
  .transform((written): SinkJob => ({
    type: written.type,
    ...toCore(written),
    serve: written.serve,
    rootFs: written.root_fs,
    recv: written.recv,
    pruning: written.pruning ?? noPruning,
  }));

const snap = z
  .strictObject({
    type: z.literal('snap').describe('Takes and removes snapshots, and replicates nothing.'),
    ...core,
    ...sending,
    pruning: pruningOfOwn.optional().describe('What is kept of the snapshots.'),
  })
  .transform((written): SnapJob => ({
    type: written.type,
    ...toCore(written),
    ...toSending(written),
    pruning: written.pruning ?? noPruning,
  }));

const local = z
  .strictObject({
    type: z.literal('local').describe('Copies from one place of this machine to another.'),
    ...core,
    ...sending,
    send,
    ...receiving,
    ...active,
    pruning: pruningOfBoth.optional().describe('What is kept on both sides.'),
  })
  .refine(hasOneSchedule, twoSchedules)
  .transform((written): LocalJob => ({
    type: written.type,
    ...toCore(written),
    ...toSending(written),
    send: written.send,
    rootFs: written.root_fs,
    recv: written.recv,
    ...toActive(written),
    pruning: written.pruning ?? noPruning,
  }));

/** One of `jobs`. */
export const job = z.discriminatedUnion('type', [pull, push, source, sink, snap, local]);
