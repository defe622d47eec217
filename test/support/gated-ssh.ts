import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { builtProgram } from './run-program.ts';

/** A stand-in for ssh on PATH, for tests that must stop a transfer at a certain byte. */
export interface GatedSSH {
  /** To be put before the rest of PATH. */
  readonly bin: string;
  /** From now on lets this many bytes through in one direction and then nothing more. */
  letThrough(direction: 'to remote' | 'from remote', bytes: number): Promise<void>;
  /** From now on lets everything through. */
  open(): Promise<void>;
}

/**
 * Makes, in `directory`, an `ssh` that runs the remote command on this machine as the user's shell there would, and a
 * `snapferry` for it to find.
 */
export async function gatedSSH(directory: string): Promise<GatedSSH> {
  const bin = join(directory, 'bin');
  const gate = join(directory, 'gate');
  await mkdir(bin, { recursive: true });
  const program = await builtProgram();
  const script = (lines: readonly string[]) => `#!/bin/sh\n${lines.join('\n')}\n`;
  await writeFile(join(bin, 'snapferry'), script([`exec '${process.execPath}' '${program}' "$@"`]), { mode: 0o755 });
  const ssh = script([
    'while [ "$1" != "--" ]; do shift; done',
    'shift 2',
    `read -r direction bytes < '${gate}'`,
    // Unbuffered, for every answer must get through. Behind the gate the stream neither goes on nor ends, as on a line
    // that has gone dead.
    'gate() { stdbuf -o0 head -c "$bytes"; exec cat >/dev/null; }',
    'case $direction in',
    'all) exec sh -c "exec $*" ;;',
    'from) sh -c "exec $*" | gate ;;',
    'to) gate | sh -c "exec $*" ;;',
    'esac',
  ]);
  await writeFile(join(bin, 'ssh'), ssh, { mode: 0o755 });
  const setGate = (text: string) => writeFile(gate, `${text}\n`);
  await setGate('all');
  return {
    bin,
    letThrough: (direction, bytes) => setGate(`${direction.split(' ')[0] ?? ''} ${bytes}`),
    open: () => setGate('all'),
  };
}
