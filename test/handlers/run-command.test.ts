import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Uint8ArrayList } from 'uint8arraylist';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import { runCommand, spawnCommand } from '../../src/handlers/run-command.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-run-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** A node process as a command: behaviours no coreutil has. */
function script(code: string): [string, ...string[]] {
  return [process.execPath, '-e', code];
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('runCommand', () => {
  it('collects output and passes input', async () => {
    const bytes = Buffer.alloc(3_000_000, 'snapferry');
    const { stdout } = await runCommand({ argv: ['cat'], stdin: bytes });
    expect(stdout.equals(bytes)).toBe(true);
  });

  it('passes arguments as they are, without a shell', async () => {
    const { stdout } = await runCommand({ argv: ['printf', '%s|', '$HOME; `id`', '*', '-n'] });
    expect(stdout.toString()).toBe('$HOME; `id`|*|-n|');
  });

  it('gives a clean environment', async () => {
    process.env['SNAPFERRY_SECRET'] = 'x';
    const { stdout } = await runCommand({ argv: ['env'] });
    delete process.env['SNAPFERRY_SECRET'];
    const names = stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0]);
    expect(names.sort()).toEqual(['HOME', 'LC_ALL', 'PATH']);
  });

  it('reports status and stderr under the given code', async () => {
    const argv = script('process.stderr.write("no such pool\\n"); process.exitCode = 3');
    await expect(runCommand({ argv, code: 'ACCESS_DENIED' })).rejects.toMatchObject({
      code: 'ACCESS_DENIED',
      message: expect.stringMatching(/exited with status 3: no such pool$/) as string,
    });
  });

  it('reports the signal that killed the command', async () => {
    const argv = script('process.kill(process.pid, "SIGKILL")');
    await expect(runCommand({ argv })).rejects.toThrow(/killed by signal SIGKILL/);
  });

  it('keeps the end of a long stderr', async () => {
    const argv = script('process.stderr.write("x".repeat(1e6) + "the end"); process.exitCode = 1');
    const message = await runCommand({ argv }).then(
      () => '',
      (error: unknown) => (error as Error).message,
    );
    expect(message).toMatch(/xthe end$/);
    expect(message.length).toBeLessThan(6000);
  });

  it('says what to install when a program is missing', async () => {
    const path = process.env['PATH'];
    process.env['PATH'] = directory;
    await expect(runCommand({ argv: ['tar', '--version'] })).rejects.toThrow(/not on the PATH; install it .*tar/);
    process.env['PATH'] = path;
  });

  it('tells a missing working directory from a missing program', async () => {
    const cwd = join(directory, 'absent');
    await expect(runCommand({ argv: ['cat'], cwd })).rejects.toThrow(/no such directory/);
  });

  it('stops a command at its deadline', async () => {
    await expect(runCommand({ argv: ['sleep', '600'], deadlineMs: 20 })).rejects.toMatchObject({ code: 'TIMEOUT' });
  });

  it('stops a command when cancelled, also before the start', async () => {
    const early = AbortSignal.abort();
    await expect(runCommand({ argv: ['sleep', '600'], signal: early })).rejects.toMatchObject({ code: 'CANCELLED' });
    const controller = new AbortController();
    const running = runCommand({ argv: ['sleep', '600'], signal: controller.signal });
    controller.abort();
    await expect(running).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  it('bounds the output', async () => {
    await expect(runCommand({ argv: ['yes'], stdoutBytesMax: 10_000 })).rejects.toThrow(/printed over 10000 bytes/);
    const { stdout } = await runCommand({ argv: ['head', '-c', '10000', '/dev/zero'], stdoutBytesMax: 10_000 });
    expect(stdout.length).toBe(10_000);
  });

  it('fails with the reason of a failing input', async () => {
    const stdin = (async function* () {
      yield Buffer.from('a');
      await Promise.resolve();
      throw new Error('the disk is gone');
    })();
    await expect(runCommand({ argv: ['cat'], stdin })).rejects.toThrow(/the disk is gone/);
  });
});

describe('spawnCommand', () => {
  it('takes pieces and lists, which may be reused once written', async () => {
    const command = spawnCommand({ argv: ['cat'] });
    const output: Buffer[] = [];
    const reading = (async () => {
      for await (const piece of command.stdout) output.push(Buffer.from(piece));
    })();
    const piece = Buffer.from('one ');
    await command.write(piece);
    piece.fill('!');
    await command.write(new Uint8ArrayList(Buffer.from('two '), Buffer.from('three')));
    await command.write(new Uint8ArrayList());
    await command.endInput();
    await reading;
    await command.finished;
    expect(Buffer.concat(output).toString()).toBe('one two three');
  });

  it('prefers the reason of a command that died to the broken pipe', async () => {
    const command = spawnCommand({
      argv: script('process.stdin.destroy(); console.error("disk full"); process.exit(2)'),
    });
    const block = Buffer.alloc(1024 * 1024);
    const writing = (async () => {
      for (;;) await command.write(block);
    })();
    await expect(writing).rejects.toThrow(/exited with status 2: disk full/);
    await expect(command.endInput()).resolves.toBeUndefined();
  });

  it('kills a process that ignores SIGTERM, and its children, and reaps it', { timeout: 20_000 }, async () => {
    const child = `const c = require("node:child_process").spawn("sleep", ["600"], {stdio: "inherit"});`;
    const code = `process.on("SIGTERM", () => {}); ${child} process.stdout.write(String(c.pid)); setInterval(() => {}, 1000)`;
    const command = spawnCommand({ argv: script(code) });
    let grandchild = 0;
    for await (const piece of command.stdout) {
      grandchild = Number(Buffer.from(piece).toString());
      break;
    }
    await command.stop();
    await command.stop();
    await expect(command.finished).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(isAlive(command.pid ?? 0)).toBe(false);
    const status = await readFile(`/proc/${grandchild}/stat`, 'utf8').catch(() => 'gone');
    expect(status === 'gone' || status.includes(') Z ')).toBe(true);
  });

  it('stopping a finished command changes nothing', async () => {
    const command = spawnCommand({ argv: ['true'] });
    await command.endInput();
    await command.finished;
    await command.stop();
    await expect(command.finished).resolves.toEqual({ stderr: '' });
  });

  it('stops a command that writes nothing while output is waited for', async () => {
    const code = 'process.stdout.write("x"); setInterval(() => {}, 1000)';
    const command = spawnCommand({ argv: script(code), stall: { of: 'output', msMax: 1000 } });
    const pieces: string[] = [];
    const reading = (async () => {
      for await (const piece of command.stdout) pieces.push(Buffer.from(piece).toString());
    })();
    await expect(reading).rejects.toThrow();
    await expect(command.finished).rejects.toMatchObject({
      code: 'TIMEOUT',
      connectionDead: false,
      message: expect.stringContaining('wrote nothing for 1000 ms') as string,
    });
    expect(isAlive(command.pid ?? 0)).toBe(false);
  });

  it('stops a command that takes nothing of what it is offered', async () => {
    const command = spawnCommand({ argv: ['sleep', '600'], stall: { of: 'input', msMax: 50 } });
    const block = Buffer.alloc(1024 * 1024);
    await expect(command.write(block)).rejects.toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringContaining('took nothing of its input') as string,
    });
  });

  it('a slow reader is no stall', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const command = spawnCommand({ argv: ['seq', '300000'], stall: { of: 'output', msMax: 1000 } });
      let bytes = 0;
      for await (const piece of command.stdout) {
        bytes += piece.byteLength;
        vi.advanceTimersByTime(5000);
      }
      await command.finished;
      expect(bytes).toBe(1_988_895);
    } finally {
      vi.useRealTimers();
    }
  });

  it('leaves behind what cannot be killed, and says so in time', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    // As for a command that sudo runs as root, or one stuck in the kernel.
    const kill = vi.spyOn(process, 'kill').mockImplementation(() => {
      throw Object.assign(new Error('kill EPERM'), { code: 'EPERM' });
    });
    const command = spawnCommand({ argv: ['sleep', '600'] });
    try {
      const stopped = command.stop();
      await vi.advanceTimersByTimeAsync(12_000);
      await stopped;
      await expect(command.finished).rejects.toMatchObject({ code: 'CANCELLED' });
    } finally {
      kill.mockRestore();
      vi.useRealTimers();
      process.kill(command.pid ?? 0, 'SIGKILL');
    }
  });

  it('lets its caller make the error', async () => {
    const argv = script('process.stderr.write("busy"); process.exitCode = 4');
    const failure = (status: unknown, stderr: string) => new SnapferryError('BUSY', `${String(status)} ${stderr}`);
    await expect(runCommand({ argv, failure })).rejects.toMatchObject({ code: 'BUSY', message: '4 busy' });
  });

  it('rejects, and does not throw, for a program that is not there', async () => {
    const command = spawnCommand({ argv: ['snapferry-no-such-program'] });
    await expect(command.finished).rejects.toThrow(/not on the PATH/);
    await expect(command.write(Buffer.from('x'))).rejects.toThrow(/not on the PATH/);
    await command.stop();
  });
});
