import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runFakeCommand } from './fake-zfs-commands.ts';
import { FakePool, type Outcome } from './fake-zfs-pool.ts';
import { FakeReceive, openFakeSend } from './fake-zfs-stream.ts';

/** What a stream of `zfs send` does besides being sent. */
export interface SendFault {
  /** Bytes given out before it happens. */
  readonly afterBytes: number;
  /** How it ends; `stall`: it does not. */
  readonly outcome: Outcome | 'stall';
}

/**
 * A `zfs` on PATH with datasets in memory. Every call is a process of its own (bash, which starts in milliseconds and can talk to
 * a loopback port by itself), so pipes, signals and exit statuses are real; what it does is decided here.
 */
export class FakeZfs {
  readonly pool = new FakePool();
  /** The arguments of every call. */
  readonly calls: string[][] = [];
  readonly directory = mkdtempSync(join(tmpdir(), 'snapferry-fake-zfs-'));
  /** The executable. */
  readonly program = join(this.directory, 'zfs');
  /** Asked before each call; an outcome, or a stream, takes the place of what would have happened. */
  intercept: (args: readonly string[]) => Outcome | { readonly stream: Buffer } | undefined = () => undefined;
  /** What happens to the next streams sent. */
  readonly sendFaults: SendFault[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #waiting = new Map<string, (data: Socket, rest: Buffer) => void>();

  private constructor(server: Server) {
    this.#server = server;
    const { port } = server.address() as AddressInfo;
    writeFileSync(this.program, script(port));
    chmodSync(this.program, 0o755);
    server.on('connection', (socket) => this.#welcome(socket));
  }

  static async start(): Promise<FakeZfs> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new FakeZfs(server);
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** The calls of one subcommand, its arguments only. */
  callsOf(command: string): string[] {
    return this.calls.filter(([name]) => name === command).map((args) => args.slice(1).join(' '));
  }

  #welcome(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    // Whoever was called may be killed at any time.
    socket.on('error', () => socket.destroy());
    let received = Buffer.alloc(0);
    const onData = (piece: Buffer): void => {
      received = Buffer.concat([received, piece]);
      const end = received.indexOf(10);
      if (end === -1) return;
      const [kind, id = '', count] = received.toString('utf8', 0, end).split(' ');
      const rest = received.subarray(end + 1);
      if (kind === 'data') {
        socket.off('data', onData);
        socket.pause();
        this.#waiting.get(id)?.(socket, rest);
        return;
      }
      const args = rest.toString('utf8').split('\0');
      if (args.length <= Number(count)) return;
      socket.off('data', onData);
      try {
        this.#call(socket, id, args.slice(0, Number(count)));
      } catch (error) {
        answer(socket, { status: 96, stderr: `the fake zfs failed: ${String(error)}\n` });
      }
    };
    socket.on('data', onData);
  }

  #call(control: Socket, id: string, args: string[]): void {
    this.calls.push(args);
    const given = this.intercept(args);
    const [command, ...rest] = args;
    if (given !== undefined && 'stream' in given) this.#send(control, id, given.stream);
    else if (given !== undefined) answer(control, given);
    else if (command === 'recv' && rest[0] === '-A') answer(control, FakeReceive.abort(this.pool, rest));
    else if (command === 'recv') this.#receive(control, id, rest);
    else if (command === 'send') {
      const send = openFakeSend(this.pool, rest);
      if ('stream' in send) this.#send(control, id, send.stream);
      else answer(control, send);
    } else answer(control, runFakeCommand(this.pool, args));
  }

  #send(control: Socket, id: string, stream: Buffer): void {
    const fault = this.sendFaults.shift();
    this.#waiting.set(id, (data) => {
      this.#waiting.delete(id);
      const given = fault === undefined ? stream : stream.subarray(0, fault.afterBytes);
      const outcome = fault?.outcome ?? { status: 0 };
      if (outcome === 'stall') data.write(given);
      else data.end(given, () => answer(control, outcome));
    });
    control.write('send\n');
  }

  #receive(control: Socket, id: string, args: string[]): void {
    const receive = new FakeReceive(this.pool, args);
    this.#waiting.set(id, (data, rest) => {
      this.#waiting.delete(id);
      let isAnswered = false;
      const settle = (outcome: Outcome | null): void => {
        if (outcome === null || isAnswered) return;
        isAnswered = true;
        data.destroy();
        answer(control, outcome);
      };
      const take = (piece: Buffer): void => {
        if (!isAnswered) receive.feed(piece);
        settle(receive.outcome);
      };
      data.on('end', () => settle(receive.end()));
      data.on('close', () => settle(receive.end()));
      data.on('data', take);
      take(rest);
      data.resume();
    });
    control.write('recv\n');
  }
}

function answer(control: Socket, { status, stdout = '', stderr = '' }: Outcome): void {
  const escaped = stderr.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  control.end(`out\n${status}\n${escaped}\n${stdout}`);
}

function script(port: number): string {
  return `#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/${port} || exit 99
printf 'control %s %s\\n' "$$" "$#" >&3
printf '%s\\0' "$@" >&3
finish() {
  read -r status <&3 || exit 98
  read -r words <&3
  [ -z "$words" ] || printf '%b' "$words" >&2
}
read -r mode <&3 || exit 97
if [ "$mode" != out ]; then
  exec 4<>/dev/tcp/127.0.0.1/${port} || exit 99
  printf 'data %s\\n' "$$" >&4
fi
case "$mode" in
send)
  cat <&4 || exit
  read -r mode <&3
  finish ;;
recv)
  cat <&0 >&4 2>/dev/null &
  disown
  exec 4>&-
  read -r mode <&3
  finish
  kill $! 2>/dev/null ;;
out)
  finish
  cat <&3 ;;
esac
exit "$status"
`;
}
