// Embedding snapferry with a backend of one's own: a journal in memory, to which lines are only ever added. A snapshot is
// the journal's length; an incremental transfer is what was added since. Run it with `npx tsx examples/memory-dataset.ts`.
import { ByteStreamRPC, memoryPair, replicate, SnapferryError } from 'snapferry';
import type { FilesystemVersion, ReplicationSink, RPCHandler, Transfer } from 'snapferry';

/** A dataset: its bytes, and the snapshots as lengths. */
class Journal {
  text = '';
  readonly snapshots: { readonly version: FilesystemVersion; readonly length: number }[] = [];

  addSnapshot(version: Omit<FilesystemVersion, 'createTXG'>): void {
    const createTXG = BigInt(this.snapshots.length + 1);
    this.snapshots.push({ version: { ...version, createTXG }, length: this.text.length });
  }

  versions(): FilesystemVersion[] {
    return this.snapshots.map(({ version }) => version);
  }

  lengthAt({ guid, name }: FilesystemVersion): number {
    const found = this.snapshots.find(({ version }) => version.guid === guid);
    if (found === undefined) throw new SnapferryError('VERSION_NOT_FOUND', `the journal has no snapshot ${name}`);
    return found.length;
  }
}

/** What the journal can be asked. */
function journalHandler(journal: Journal): RPCHandler {
  const send = (begin: number, end: number): Promise<Transfer> => {
    const added = Buffer.from(journal.text.slice(begin, end));
    const bytes = (async function* () {
      yield await Promise.resolve(added);
    })();
    return Promise.resolve({ format: 'journal', estimatedBytes: added.byteLength, resumed: false, bytes });
  };
  return {
    filesystems: () => Promise.resolve([['journal']]),
    filesystemVersions: () => Promise.resolve(journal.versions()),
    initialTransfer: ({ version }) => send(0, journal.lengthAt(version)),
    incrementalTransfer: ({ from, to }) => send(journal.lengthAt(from), journal.lengthAt(to)),
  };
}

/** Where a journal is received. */
function journalSink(journal: Journal): ReplicationSink {
  return {
    filesystemVersions: () => Promise.resolve(journal.versions()),
    resumeState: () => Promise.resolve(null),
    discardPartial: () => Promise.resolve(),
    createParents: () => Promise.resolve(),
    async receive({ to }, bytes) {
      const pieces: Uint8Array[] = [];
      for await (const piece of bytes) pieces.push(piece.slice());
      // Only now is the stream known to be whole: had it been cut, the loop would have thrown.
      journal.text += Buffer.concat(pieces).toString();
      journal.addSnapshot(to);
      return { notices: [], missing: [] };
    },
  };
}

const original = new Journal();
const copy = new Journal();
for (const [day, line] of ['It rained.', 'It rained again.', 'The ferry came.'].entries()) {
  original.text += `${line}\n`;
  original.addSnapshot({ type: 'snapshot', name: `day${day + 1}`, guid: BigInt(day + 100), creation: null });

  const [near, far] = memoryPair();
  const served = ByteStreamRPC.listen(far, { clientIdentity: 'example', handler: journalHandler(original) });
  const client = await ByteStreamRPC.connect(near);
  const { filesystems } = await replicate({ client, sink: journalSink(copy), jobId: 'example' }).report;
  await client.close();
  await served;
  for (const { filesystem, ok, bytes } of filesystems) console.log(`${filesystem.join('/')}: ${ok}, ${bytes} bytes`);
}
console.log(copy.text === original.text ? 'The copy is complete.' : 'The copy differs.');
