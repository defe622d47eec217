import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { Option } from 'commander';
import { configurationFileDefault } from '../config/configuration.ts';
import { ConfigurationError } from '../config/configuration-error.ts';
import { loadConfiguration } from '../config/load-configuration.ts';
import { readYaml } from '../config/yaml-source.ts';
import { controlClient } from '../daemon/control/control-client.ts';
import type { ControlClient } from '../daemon/control/control-client.ts';
import { SnapferryError } from '../errors.ts';

/** The options of {@link addDaemonOptions}. */
export interface DaemonFlags {
  readonly config: string;
  readonly socket?: string;
}

/** `--config` and `--socket`: for every command that talks to the daemon. */
export function addDaemonOptions(command: Command): Command {
  return command
    .option('-c, --config <file>', 'the configuration of the daemon', configurationFileDefault)
    .addOption(
      new Option('--socket <path>', 'its control socket; default: global.control.sockpath of the configuration'),
    );
}

/**
 * Connects to the running daemon. The caller closes the client.
 * @throws SnapferryError `CONNECT_FAILED` when none runs, saying how to start it; ConfigurationError when it is not known where
 */
export async function daemonClient(flags: DaemonFlags, signal?: AbortSignal): Promise<ControlClient> {
  const path = flags.socket ?? controlSocketOf(flags.config);
  try {
    return await controlClient(path, signal === undefined ? {} : { signal });
  } catch (error) {
    if (!(error instanceof SnapferryError) || error.code !== 'CONNECT_FAILED') throw error;
    const text = `no daemon answers on ${path}: ${error.message}`;
    const start = `start it: systemctl start snapferry, or in the foreground: snapferry daemon --config ${flags.config}`;
    throw new SnapferryError('CONNECT_FAILED', `${text}\n${start}`, { cause: error, retryable: false });
  }
}

/**
 * Where the daemon of a configuration listens. Also of one that has mistakes elsewhere: the daemon goes on with the one before, and it
 * is then that one talks to it.
 * @throws ConfigurationError when it cannot be read at all
 */
export function controlSocketOf(file: string): string {
  try {
    return loadConfiguration(file).global.control.sockpath;
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    const written = writtenSocket(file);
    if (written === null) throw error;
    return written;
  }
}

function writtenSocket(file: string): string | null {
  try {
    const { value } = readYaml(readFileSync(file, 'utf8'), file);
    const { global } = value as { readonly global?: { readonly control?: { readonly sockpath?: unknown } } };
    const sockpath = global?.control?.sockpath;
    return typeof sockpath === 'string' ? sockpath : null;
  } catch {
    return null;
  }
}
