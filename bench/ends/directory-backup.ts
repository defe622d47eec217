import { basename } from 'node:path';
import { directoryHandler } from '../../src/handlers/directory/handler.ts';
import { directorySink } from '../../src/handlers/directory/sink.ts';
import { takeSnapshot } from '../../src/handlers/directory/snapshot.ts';
import { replicate } from '../../src/replication/replicate.ts';
import { LocalRPC } from '../../src/rpc/local-rpc.ts';

/** What to back up, and to where. */
export interface DirectoryBackupOptions {
  readonly source: string;
  readonly target: string;
}

/** What became of it. */
export interface DirectoryBackupMeasurement {
  /** Name of the snapshot taken and pulled. */
  readonly snapshot: string;
  readonly snapshotSeconds: number;
  readonly pullSeconds: number;
}

/** The program that does what `snapferry pull SOURCE TARGET` does, and prints how long its two halves took as JSON. */
async function main({ source, target }: DirectoryBackupOptions): Promise<void> {
  const begun = performance.now();
  const { version, missing } = await takeSnapshot(source);
  if (version === null || missing.length > 0) throw new Error('no whole snapshot was taken');
  const taken = performance.now();
  await using client = LocalRPC.connect(
    directoryHandler({ datasets: [{ path: [basename(source)], directory: source }] }),
  );
  const { filesystems } = await replicate({ client, sink: directorySink({ locate: () => target }), jobId: 'bench' })
    .report;
  const failed = filesystems.find(({ ok }) => !ok);
  if (failed !== undefined || filesystems[0]?.steps !== 1) throw new Error(`not pulled: ${JSON.stringify(failed)}`);
  const measurement: DirectoryBackupMeasurement = {
    snapshot: version.name,
    snapshotSeconds: (taken - begun) / 1000,
    pullSeconds: (performance.now() - taken) / 1000,
  };
  process.stdout.write(`${JSON.stringify(measurement)}\n`);
}

await main(JSON.parse(process.argv[2] ?? '') as DirectoryBackupOptions);
