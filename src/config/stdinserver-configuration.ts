import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ConfigurationError } from './configuration-error.ts';
import { nearest } from './nearest.ts';
import { parseConfiguration } from './yaml-configuration.ts';

/** Where the configuration of `snapferry stdinserver` is unless told otherwise. */
export const stdinserverConfigurationFile = '/etc/snapferry/stdinserver.yml';

const directory = z
  .string({ error: 'expected a directory' })
  .refine((path) => path.startsWith('/') && !path.includes('\0'), 'must be an absolute path, e.g. /srv/data')
  .refine((path) => !path.split('/').includes('..'), 'must not have ".." in it');

const rights = z
  .strictObject(
    {
      sources: z.array(directory, { error: 'expected a list of directories' }).default([]),
      sink: directory.optional(),
      snapshot: z.boolean({ error: 'expected true or false' }).default(false),
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

/** What one identity may do. */
export interface IdentityRights {
  /** Directories it may read, with all below them. */
  readonly sources: readonly string[];
  /** The directory at or below which it may store; null: nowhere. */
  readonly sink: string | null;
  /** Whether it may have snapshots taken of its sources. */
  readonly snapshot: boolean;
}

/**
 * The rights of an identity by a configuration text.
 * @throws ConfigurationError naming file, line and column, or saying that the identity is not in it
 */
export function parseRights(text: string, file: string, identity: string): IdentityRights {
  const { identities } = parseConfiguration(text, file, configuration);
  const found = Object.hasOwn(identities, identity) ? identities[identity] : undefined;
  if (found !== undefined) return { sources: found.sources, sink: found.sink ?? null, snapshot: found.snapshot };
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
