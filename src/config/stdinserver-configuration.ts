import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ConfigurationError } from './configuration-error.ts';
import { nearest } from './nearest.ts';
import { sinkPlace, sourcePatterns } from './source-patterns.ts';
import type { SinkPlace, SourcePattern } from './source-patterns.ts';
import { parseConfiguration } from './yaml-configuration.ts';

/** Where the configuration of `snapferry stdinserver` is unless told otherwise. */
export const stdinserverConfigurationFile = '/etc/snapferry/stdinserver.yml';

const trueOrFalse = z.boolean({ error: 'expected true or false' });
const propertyName = z.string().regex(/^[a-z][a-z0-9_:.-]*$/, 'is not the name of a property');

const receive = z.strictObject(
  {
    options: z
      .record(propertyName, z.union([z.string(), z.number().transform(String)], { error: 'expected a text' }))
      .default({}),
    exclude: z.array(propertyName, { error: 'expected a list of properties' }).default([]),
    takeProperties: trueOrFalse.default(false),
    placeholderEncryption: z.enum(['inherit', 'off'], { error: 'expected inherit or off' }).nullable().default(null),
  },
  { error: 'expected options, exclude, takeProperties or placeholderEncryption' },
);

const rights = z
  .strictObject(
    {
      sources: sourcePatterns.default([]),
      sink: sinkPlace.optional(),
      snapshot: trueOrFalse.default(false),
      receive: receive.prefault({}),
      sudo: trueOrFalse.default(false),
    },
    { error: 'expected sources, sink or snapshot' },
  )
  .refine(({ sources, sink }) => sources.length > 0 || sink !== undefined, 'gives neither sources nor a sink');

const identityName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'an identity has letters, digits, ".", "_" and "-" only')
  .refine((name) => name !== 'local', '"local" is no identity of a peer');

const configuration = z.strictObject(
  { identities: z.record(identityName, rights, { error: 'expected a name for each identity' }) },
  { error: 'expected identities' },
);

/** How what an identity pushes is stored; it cannot choose. */
export interface ReceiveRights {
  /** Properties to set, by name. */
  readonly options: Readonly<Record<string, string>>;
  /** Properties not to take from the client. */
  readonly exclude: readonly string[];
  /** Whether those of the client's properties are taken that do not reach beyond the dataset. */
  readonly takeProperties: boolean;
  readonly placeholderEncryption: 'inherit' | 'off' | null;
}

/** What one identity may do. */
export interface IdentityRights {
  /** What it may read. */
  readonly sources: readonly SourcePattern[];
  /** Where it may store: a directory, or at or below it; otherwise at or below the dataset of its own name under it; null: nowhere. */
  readonly sink: SinkPlace | null;
  /** Whether it may have snapshots taken of its sources. */
  readonly snapshot: boolean;
  readonly receive: ReceiveRights;
  /** Whether the backend's program is run through sudo. */
  readonly sudo: boolean;
}

/**
 * The rights of an identity by a configuration text.
 * @throws ConfigurationError naming file, line and column, or saying that the identity is not in it
 */
export function parseRights(text: string, file: string, identity: string): IdentityRights {
  const { identities } = parseConfiguration(text, file, configuration);
  const found = Object.hasOwn(identities, identity) ? identities[identity] : undefined;
  if (found !== undefined) return { ...found, sink: found.sink ?? null };
  const meant = nearest(identity, Object.keys(identities));
  const advice = meant === null ? 'add it under identities' : `did you mean "${meant}"?`;
  throw new ConfigurationError(`${file}: there is no identity ${JSON.stringify(identity)}; ${advice}`);
}

/** {@link parseRights} of a file. */
export function loadRights(file: string, identity: string): IdentityRights {
  let text;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const why = `cannot read the configuration ${file}: ${(error as Error).message}`;
    throw new ConfigurationError(`${why}; create it, or name another one with --config`, { cause: error });
  }
  return parseRights(text, file, identity);
}
