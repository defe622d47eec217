import { btrfsHandler } from '../../src/handlers/btrfs/handler.ts';
import { btrfsSink } from '../../src/handlers/btrfs/sink.ts';
import { replicate } from '../../src/replication/replicate.ts';
import { ByteStreamRPC } from '../../src/rpc/byte-stream-rpc.ts';
import { connectCommand } from '../../src/transport/command.ts';
import { stdio } from '../../src/transport/stdio.ts';
import { filesystem } from './btrfs-fixture.ts';

// `serve LIVE` offers a subvolume on stdin and stdout; `pull LIVE COPY` starts that and pulls from it. For tests that kill either.
const [role, live = '', copy = ''] = process.argv.slice(2);

if (role === 'serve') {
  const handler = btrfsHandler({ roots: [{ directory: live, path: filesystem }] });
  await ByteStreamRPC.listen(stdio(), { clientIdentity: 'test', handler });
} else {
  const argv = [process.execPath, ...process.execArgv, process.argv[1]!, 'serve', live] as const;
  const client = await ByteStreamRPC.connect(await connectCommand({ argv, cwd: process.cwd() }));
  const replication = replicate({ client, sink: btrfsSink({ locate: () => copy }), jobId: 'kill', policy: 'all' });
  for await (const event of replication) {
    if (event.kind === 'stepStarted') process.stdout.write(event.resumed ? 'resumed\n' : 'started\n');
  }
  const { filesystems } = await replication.report;
  await client.close();
  process.stdout.write(`${JSON.stringify(filesystems.map(({ ok, message }) => ({ ok, message })))}\n`);
  process.exitCode = filesystems.length > 0 && filesystems.every(({ ok }) => ok) ? 0 : 1;
}
