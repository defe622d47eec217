import { SnapferryError } from '../../errors.ts';
import { exitFailure } from '../command-failure.ts';
import { runCommand, spawnCommand, type CommandOptions, type RunningCommand } from '../run-command.ts';
import { showArguments, type BtrfsArguments } from './commands.ts';
import { causeOf, parseShow, type ShownSubvolume } from './output.ts';

/** How `btrfs` is run. */
export interface BtrfsToolOptions {
  /** The program and what stands before it, such as `['sudo', '-n', 'btrfs']`. Default `['btrfs']`. */
  readonly program?: readonly [string, ...string[]] | undefined;
  /** How long anything but a stream may take. Default 10 minutes: a sync or a delete waits for the disk. */
  readonly deadlineMs?: number | undefined;
  /** How long a stream may stand still before it is given up. Default 30 minutes: comparing large trees sends nothing. */
  readonly stallMsMax?: number | undefined;
}

const deadlineMsDefault = 10 * 60_000;
const stallMsMaxDefault = 30 * 60_000;

type ToolCommandOptions = Pick<CommandOptions, 'signal' | 'code' | 'deadlineMs' | 'acceptsStatus'>;

/** Runs `btrfs`. Errors carry the tool's own words, and a code and advice where the cause is known. */
export class BtrfsTool {
  readonly #program: readonly [string, ...string[]];
  readonly #deadlineMs: number;
  readonly #stallMsMax: number;

  constructor({ program, deadlineMs, stallMsMax }: BtrfsToolOptions = {}) {
    this.#program = program ?? ['btrfs'];
    this.#deadlineMs = deadlineMs ?? deadlineMsDefault;
    this.#stallMsMax = stallMsMax ?? stallMsMaxDefault;
  }

  /** Runs it to its end; what it printed. Times are printed in UTC. */
  async run(args: BtrfsArguments, options: ToolCommandOptions = {}): Promise<string> {
    const { stdout } = await runCommand({
      deadlineMs: this.#deadlineMs,
      environment: { TZ: 'UTC0' },
      ...this.#command(args, options),
    });
    return stdout.toString('utf8');
  }

  /** Starts it with a stream in or out. The caller awaits `finished` or calls `stop`. */
  start(args: BtrfsArguments, stream: 'output' | 'input', options: ToolCommandOptions = {}): RunningCommand {
    return spawnCommand({ ...this.#command(args, options), stall: { of: stream, msMax: this.#stallMsMax } });
  }

  /**
   * What is at a path, or null when there is no subvolume.
   * @throws SnapferryError as the tool fails for other reasons
   */
  async show(path: string, options: ToolCommandOptions = {}): Promise<ShownSubvolume | null> {
    try {
      return parseShow(await this.run(showArguments(path), options));
    } catch (error) {
      const isAbsent = error instanceof SnapferryError && /No such file or directory|Not a Btrfs/.test(error.message);
      if (isAbsent) return null;
      throw error;
    }
  }

  #command(args: BtrfsArguments, options: ToolCommandOptions): CommandOptions {
    const argv: CommandOptions['argv'] = [...this.#program, ...args];
    const identity = { argv, code: options.code };
    return {
      ...options,
      ...identity,
      failure: (status, stderr) => {
        const cause = causeOf(stderr);
        const failure = exitFailure({ ...identity, code: cause?.code ?? identity.code }, status, stderr);
        if (cause === null) return failure;
        return new SnapferryError(failure.code, `${failure.message} (${cause.advice})`);
      },
    };
  }
}
