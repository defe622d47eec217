import { z } from 'zod';
import { checkVersionName } from '../dataset.ts';
import { everyDataset, filesystems } from './dataset-schemas.ts';
import { absolutePath, cron, duration, expecting, oneOf, text, yesOrNo } from './scalar-schemas.ts';
import type { SnapshotHook, SnapshotNaming, Snapshotting } from './snapshotting.ts';
import { checkTimestampFormat } from './timestamp-format.ts';

const hook = z
  .strictObject(
    {
      type: oneOf(['command']).describe('A program.'),
      path: absolutePath.describe('The program. It gets no arguments; what it is run for is in its environment.'),
      timeout: duration.prefault('30s').describe('How long it may take before it is killed, which is a failure.'),
      err_is_fatal: yesOrNo.default(false).describe('Whether no snapshot is taken of a dataset when it fails before.'),
      filesystems: filesystems.optional().describe('Which datasets it is run for. Default: all of the job.'),
    },
    expecting('a hook with type and path'),
  )
  .transform(({ type, path, timeout, err_is_fatal, ...rest }): SnapshotHook => ({
    type,
    path,
    timeoutMs: timeout,
    errIsFatal: err_is_fatal,
    filesystems: rest.filesystems ?? everyDataset,
  }));

const prefix = text('what names of snapshots begin with').superRefine((value, context) => {
  try {
    checkVersionName(`${value}20060102`);
  } catch {
    context.addIssue('no snapshot can be called so; use letters, digits, "_", ".", ":" and "-"');
    return;
  }
  if (!/^[A-Za-z0-9_.:-]+$/.test(value)) context.addIssue('use letters, digits, "_", ".", ":" and "-" only');
});

const naming = {
  prefix: prefix.describe('What names of snapshots begin with; by it the job knows its own.'),
  timestamp_format: text('a format')
    .default('dense')
    .describe('What follows: dense, human, iso-8601, unix-seconds, or a layout of 2006-01-02 15:04:05.'),
  timestamp_location: text('a time zone')
    .default('UTC')
    .describe('Time zone of the timestamp: UTC, Local or a name such as Europe/Prague.'),
  hooks: z
    .array(hook, expecting('a list of hooks'))
    .default([])
    .describe('Programs run before and after each snapshot.'),
};

type WrittenNaming = z.output<z.ZodObject<typeof naming>>;

function toNaming(written: WrittenNaming, context: z.core.$RefinementCtx): SnapshotNaming {
  const timestamp = { format: written.timestamp_format, location: written.timestamp_location };
  try {
    checkTimestampFormat(timestamp);
  } catch (error) {
    const { message } = error as Error;
    const path = [message.startsWith('timestamp_location') ? 'timestamp_location' : 'timestamp_format'];
    context.issues.push({ code: 'custom', path, message, input: written });
  }
  return { prefix: written.prefix, timestamp, hooks: written.hooks };
}

/** `snapshotting` of a job. */
export const snapshotting = z
  .discriminatedUnion('type', [
    z
      .strictObject({
        type: z.literal('periodic').describe('At intervals.'),
        interval: duration.describe('Time from one snapshot to the next.'),
        ...naming,
      })
      .transform((written, context): Snapshotting => ({
        type: 'periodic',
        intervalMs: written.interval,
        ...toNaming(written, context),
      })),
    z
      .strictObject({
        type: z.literal('cron').describe('At points in time.'),
        cron: cron.describe(
          'Minute, hour, day of month, month, day of week; seconds may come before. In the time zone of the machine.',
        ),
        ...naming,
      })
      .transform((written, context): Snapshotting => ({
        type: 'cron',
        cron: written.cron,
        ...toNaming(written, context),
      })),
    z
      .strictObject({ type: z.literal('manual').describe('Never; others take them.') })
      .transform((written): Snapshotting => written),
  ])
  .describe('How snapshots are taken.');
