import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import type { Configuration } from '../../config/configuration.ts';
import { ConfigurationError } from '../../config/configuration-error.ts';
import { loadConfiguration } from '../../config/load-configuration.ts';
import { toSnapferryError } from '../../errors.ts';
import type { DaemonFlags } from '../daemon-client.ts';
import type { Run } from '../run.ts';
import { readStatus } from '../status-source.ts';
import type { SeenStatus } from '../status-source.ts';
import type { Finding } from './finding.ts';
import { cure } from './finding.ts';
import type { Machine } from './patient.ts';

/** This machine, as far as it can be seen. */
export interface SeenMachine {
  readonly machine: Machine;
  /** Null: there is none that can be used. */
  readonly configuration: Configuration | null;
  /** Why not all of it can be seen. */
  readonly findings: readonly Finding[];
}

/** Looks at configuration and daemon. Rejects only when it is cancelled. */
export async function seeMachine(
  { logger, signal }: Pick<Run, 'logger' | 'signal'>,
  flags: DaemonFlags,
): Promise<SeenMachine> {
  const findings: Finding[] = [];
  const configuration = readConfigurationOf(flags.config, findings);
  const seen = configuration === null ? null : await seeStatus(flags, signal, findings);
  const { global, jobs } = configuration ?? { global: null, jobs: null };
  return {
    configuration,
    findings,
    machine: {
      seen,
      stateDir: global?.stateDir ?? null,
      jobNames: jobs?.map(({ name }) => name) ?? null,
      tools: global?.tools ?? { zfs: ['zfs'], btrfs: ['btrfs'] },
      user: { name: userName(), isRoot: process.geteuid?.() === 0 },
      readLocks: () => readFile('/proc/locks', 'utf8').catch(() => ''),
      nowMs: Date.now(),
      logger,
      signal,
    },
  };
}

function readConfigurationOf(file: string, findings: Finding[]): Configuration | null {
  try {
    return loadConfiguration(file);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    const message = `the configuration cannot be used, so nothing is known of the jobs:\n${error.message}`;
    const cures = [cure('see all that is wrong with it', ['snapferry', 'configcheck', '--config', file])];
    findings.push({ check: 'configuration', severity: 'problem', subject: file, message, cures });
    return null;
  }
}

async function seeStatus(flags: DaemonFlags, signal: AbortSignal, findings: Finding[]): Promise<SeenStatus | null> {
  try {
    return await readStatus(flags, signal);
  } catch (error) {
    const { code, message } = toSnapferryError(error);
    if (code === 'CANCELLED') throw error;
    const text = `neither a daemon nor the history of runs can be asked: ${message}`;
    const cures = [cure('see whose they are, and look as that user', ['ls', '-la', flags.config, '/run/snapferry'])];
    findings.push({ check: 'daemon', severity: 'problem', subject: 'the daemon', message: text, cures });
    return null;
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user without an entry, as in many containers.
    return String(process.geteuid?.() ?? 'unknown');
  }
}
