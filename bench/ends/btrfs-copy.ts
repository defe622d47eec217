import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { btrfsHandler } from '../../src/handlers/btrfs/handler.ts';
import { btrfsSink } from '../../src/handlers/btrfs/sink.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { connectCommand } from '../../src/transport/command.ts';
import { stdio } from '../../src/transport/stdio.ts';
import { connectUnix, listenUnix } from '../../src/transport/unix.ts';

/** One copy of the newest snapshot of a subvolume, and in which of the two processes this is. */
export interface BtrfsCopyOptions {
  readonly role: 'asking' | 'answering';
  readonly carrier: 'stdio' | 'unix';
  readonly socketPath: string;
  /** Path of the subvolume. */
  readonly source: string;
  /** Its copy becomes `TARGET@SNAPSHOT`. */
  readonly target: string;
}

/** How long it took from asking for the transfer until the copy was durable. */
export interface BtrfsCopyMeasurement {
  readonly seconds: number;
}

const filesystem = ['data'];

async function answer({ carrier, socketPath, source }: BtrfsCopyOptions): Promise<void> {
  const handler = btrfsHandler({ roots: [{ directory: source, path: filesystem }] });
  const serve = (stream: ByteStream) => ByteStreamRPC.listen(stream, { clientIdentity: 'bench', handler });
  if (carrier === 'stdio') {
    await serve(stdio());
    return;
  }
  let isServed = (): void => undefined;
  const served = new Promise<void>((resolve) => (isServed = resolve));
  await using listener = await listenUnix(socketPath, (stream) => {
    void serve(stream).finally(isServed);
  });
  process.stdout.write(`${listener.description}\n`);
  await served;
}

async function connect(options: BtrfsCopyOptions): Promise<ByteStream> {
  const argument = JSON.stringify({ ...options, role: 'answering' } satisfies BtrfsCopyOptions);
  const argv = [process.execPath, import.meta.filename, argument] as const;
  if (options.carrier === 'stdio') return connectCommand({ argv });
  const [program, ...args] = argv;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  // It says so once it listens.
  await once(child.stdout, 'data');
  return connectUnix(options.socketPath);
}

async function ask(options: BtrfsCopyOptions): Promise<void> {
  await using client = await ByteStreamRPC.connect(await connect(options));
  const sink = btrfsSink({ locate: () => options.target });
  const to = (await client.filesystemVersions({ filesystem })).at(-1);
  if (to === undefined) throw new Error(`${options.source} has no snapshot`);
  const begun = performance.now();
  const { format, resumed, bytes } = await client.initialTransfer({ filesystem, version: to });
  await sink.receive({ filesystem, from: null, to, format, resumed }, bytes);
  const measurement: BtrfsCopyMeasurement = { seconds: (performance.now() - begun) / 1000 };
  process.stdout.write(`${JSON.stringify(measurement)}\n`);
}

const options = JSON.parse(process.argv[2] ?? '') as BtrfsCopyOptions;
await (options.role === 'asking' ? ask(options) : answer(options));
