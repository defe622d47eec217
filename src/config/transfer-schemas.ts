import { z } from 'zod';
import { expecting, duration, oneOf, size, text, wholeNumber, yesOrNo } from './scalar-schemas.ts';
import type {
  BandwidthLimit,
  Protection,
  ReceiveSettings,
  ReplicationSettings,
  SendSettings,
} from './transfer-settings.ts';

const bandwidthLimit = z
  .strictObject(
    {
      max: size.describe('Size a second, of the payload of all transfers of the job together.'),
      bucket_capacity: size.prefault('128 KiB').describe('What may be sent at once after a pause.'),
    },
    expecting('a mapping with max'),
  )
  .transform((written): BandwidthLimit => ({ bytesPerSecondMax: written.max, burstBytesMax: written.bucket_capacity }))
  .optional()
  .describe('A limit of the rate. Default: none.');

const protections = {
  guarantee_resumability: 'resumability',
  guarantee_incremental: 'incremental',
  guarantee_nothing: 'nothing',
} as const satisfies Record<string, Protection>;

const protectionWord = oneOf(['guarantee_resumability', 'guarantee_incremental', 'guarantee_nothing'])
  .default('guarantee_resumability')
  .transform((word): Protection => protections[word]);

const protection = z
  .strictObject(
    {
      initial: protectionWord.describe('For the first transfer of a dataset.'),
      incremental: protectionWord.describe('For those after it.'),
    },
    expecting('a mapping with initial and incremental'),
  )
  .prefault({})
  .describe('What is done at the source so that an interrupted transfer can go on, and the next one be incremental.');

const concurrency = z
  .strictObject(
    {
      steps: wholeNumber(1, 64)
        .default(1)
        .describe('Datasets replicated at the same time, each over a connection of its own.'),
      size_estimates: wholeNumber(1, 64).default(4).describe('Estimates asked for at the same time.'),
    },
    expecting('a mapping with steps and size_estimates'),
  )
  .prefault({});

const retry = z
  .strictObject(
    {
      attempts: wholeNumber(1, 1000).default(6).describe('Attempts in all; 1 never tries again.'),
      wait_min: duration.prefault('1s').describe('Wait before the second attempt; later ones are longer.'),
      wait_max: duration.prefault('1m').describe('No wait is longer.'),
    },
    expecting('a mapping with attempts, wait_min and wait_max'),
  )
  .refine((written) => written.wait_min <= written.wait_max, {
    path: ['wait_min'],
    message: 'must not be longer than wait_max',
  })
  .prefault({})
  .describe('What a run does about errors that may pass.');

/** `replication` of an active job. */
export const replication = z
  .strictObject(
    {
      protection,
      concurrency: concurrency.describe('How much is done at the same time.'),
      retry,
      stall_timeout: duration.prefault('30m').describe('A run in which nothing moves for so long is ended.'),
      snapshot_prefix: text('what names of snapshots begin with')
        .optional()
        .describe('Only snapshots whose names begin so are replicated. Default: all.'),
    },
    expecting('a mapping with protection, concurrency, retry, stall_timeout or snapshot_prefix'),
  )
  .transform((written): ReplicationSettings => ({
    protection: written.protection,
    concurrency: { steps: written.concurrency.steps, sizeEstimates: written.concurrency.size_estimates },
    retry: {
      attemptsMax: written.retry.attempts,
      waitMsMin: written.retry.wait_min,
      waitMsMax: written.retry.wait_max,
    },
    stallMsMax: written.stall_timeout,
    snapshotPrefix: written.snapshot_prefix ?? null,
  }))
  .prefault({})
  .describe('How replications are run.');

/** `replication` of a source, which only answers. */
export const replicationOfSource = z
  .strictObject({ protection }, expecting('a mapping with protection'))
  .transform(({ protection: chosen }): ReplicationSettings => ({ ...replication.parse({}), protection: chosen }))
  .prefault({})
  .describe('How transfers are prepared.');

/** `conflict_resolution` of an active job. */
export const conflictResolution = z
  .strictObject(
    {
      initial_replication: oneOf(['most_recent', 'all', 'fail'])
        .default('most_recent')
        .describe(
          'What is sent of a dataset that the target has nothing of: the newest snapshot, all, or nothing until a person has looked.',
        ),
    },
    expecting('a mapping with initial_replication'),
  )
  .prefault({})
  .transform((written) => written.initial_replication)
  .describe('What to do where there is more than one way.');

const flag = yesOrNo.default(false);

/** `send` of a job. */
export const send = z
  .strictObject(
    {
      encrypted: yesOrNo
        .optional()
        .describe(
          'true: encrypted datasets are sent raw, and no others. false: all in the clear. Default: encrypted ones raw, others as they are.',
        ),
      raw: flag.describe('zfs send -w for every dataset.'),
      send_properties: flag.describe('zfs send -p: properties go with the dataset.'),
      large_blocks: flag.describe('zfs send -L. Must not be changed for a dataset that has been replicated.'),
      compressed: flag.describe('zfs send -c.'),
      embedded_data: flag.describe('zfs send -e.'),
      bandwidth_limit: bandwidthLimit,
    },
    expecting('a mapping with options of sending'),
  )
  .refine((written) => !(written.raw && written.encrypted === false), {
    path: ['raw'],
    message: 'contradicts "encrypted: false": raw keeps encrypted data encrypted',
  })
  .transform((written): SendSettings => ({
    encrypted: written.encrypted ?? null,
    raw: written.raw,
    sendProperties: written.send_properties,
    largeBlocks: written.large_blocks,
    compressed: written.compressed,
    embeddedData: written.embedded_data,
    bandwidthLimit: written.bandwidth_limit ?? null,
  }))
  .prefault({})
  .describe('How datasets are sent.');

const propertyName = z
  .string(expecting('the name of a property'))
  .regex(/^[a-z0-9][a-z0-9:._-]*$/, 'is no name of a ZFS property');
const propertyValue = z
  .union([z.string(), z.number()], expecting('the value of a property; write words such as "on" in quotes'))
  .transform(String);

const properties = z
  .strictObject(
    {
      inherit: z
        .array(propertyName, expecting('a list of properties'))
        .default([])
        .describe('Never taken from the sender (zfs recv -x).'),
      override: z
        .record(propertyName, propertyValue, expecting('properties to values'))
        .default({})
        .describe('Set on every dataset received (zfs recv -o).'),
      from_sender: flag.describe('Whether properties in the stream are taken over.'),
      trusted: z
        .array(propertyName, expecting('a list of properties'))
        .default([])
        .describe(
          'With from_sender: which of those that reach beyond the dataset (mountpoint, canmount, quota, …) are taken over, too.',
        ),
    },
    expecting('a mapping with inherit, override, from_sender or trusted'),
  )
  .superRefine((written, context) => {
    for (const [index, name] of written.inherit.entries()) {
      if (!Object.hasOwn(written.override, name)) continue;
      context.addIssue({
        code: 'custom',
        path: ['inherit', index],
        message: `"${name}" is also under override; it can be only one`,
      });
    }
    if (written.trusted.length > 0 && !written.from_sender) {
      context.addIssue({ code: 'custom', path: ['trusted'], message: 'means nothing without "from_sender: true"' });
    }
  });

/** `recv` of a job. */
export const recv = z
  .strictObject(
    {
      properties: properties.prefault({}).describe('What a received dataset gets as properties.'),
      placeholder: z
        .strictObject(
          { encryption: oneOf(['unspecified', 'inherit', 'off']).default('unspecified') },
          expecting('a mapping with encryption'),
        )
        .prefault({})
        .describe(
          'Datasets made only so that others have a parent; unspecified: refused where the parent is encrypted.',
        ),
      bandwidth_limit: bandwidthLimit,
    },
    expecting('a mapping with options of receiving'),
  )
  .transform(({ properties: { inherit, override, from_sender, trusted }, placeholder, ...rest }): ReceiveSettings => ({
    properties: { inherit, override, fromSender: from_sender, trusted },
    placeholderEncryption: placeholder.encryption,
    bandwidthLimit: rest.bandwidth_limit ?? null,
  }))
  .prefault({})
  .describe('How datasets are stored.');
