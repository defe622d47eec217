import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import { zfsHandler } from '../../src/handlers/zfs/handler.ts';
import { zfsSink } from '../../src/handlers/zfs/sink.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { connectCommand } from '../../src/transport/command.ts';
import { stdio } from '../../src/transport/stdio.ts';
import { connectUnix, listenUnix } from '../../src/transport/unix.ts';

/** One copy of the newest snapshot of a dataset, and in which of the two processes this is. */
export interface ZfsCopyOptions {
  readonly role: 'asking' | 'answering';
  readonly carrier: 'stdio' | 'unix';
  readonly socketPath: string;
  readonly source: string;
  readonly target: string;
}

/** How long it took from asking for the transfer until the copy was durable. */
export interface ZfsCopyMeasurement {
  readonly seconds: number;
}

async function answer({ carrier, socketPath, source }: ZfsCopyOptions): Promise<void> {
  const handler = zfsHandler({ roots: [{ dataset: source, path: ['data'], recursive: false }] });
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

async function connect(options: ZfsCopyOptions): Promise<ByteStream> {
  const argument = JSON.stringify({ ...options, role: 'answering' } satisfies ZfsCopyOptions);
  const argv = [process.execPath, import.meta.filename, argument] as const;
  if (options.carrier === 'stdio') return connectCommand({ argv });
  const [program, ...args] = argv;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  // It says so once it listens.
  await once(child.stdout, 'data');
  return connectUnix(options.socketPath);
}

async function ask(options: ZfsCopyOptions): Promise<void> {
  const filesystem = ['data'];
  await using client = await ByteStreamRPC.connect(await connect(options));
  const sink = zfsSink({ locate: () => options.target });
  const to = (await client.filesystemVersions({ filesystem })).at(-1);
  if (to === undefined) throw new Error(`${options.source} has no snapshot`);
  const begun = performance.now();
  const { format, resumed, bytes } = await client.initialTransfer({ filesystem, version: to });
  await sink.receive({ filesystem, from: null, to, format, resumed }, bytes);
  const measurement: ZfsCopyMeasurement = { seconds: (performance.now() - begun) / 1000 };
  process.stdout.write(`${JSON.stringify(measurement)}\n`);
}

const options = JSON.parse(process.argv[2] ?? '') as ZfsCopyOptions;
await (options.role === 'asking' ? ask(options) : answer(options));
