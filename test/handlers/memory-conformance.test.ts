import { hash } from 'node:crypto';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { SnapferryError } from '../../src/errors.ts';
import type { RPCHandler, Transfer } from '../../src/rpc/interfaces.ts';
import { contentBytes, describeBackend, type TestBackend } from '../conformance/backend.ts';
import { memoryBackend, memoryFormat } from '../support/memory-backend.ts';
import { seededBytes } from '../support/recorded.ts';

function inMemory(): Promise<TestBackend> {
  const source = memoryBackend();
  const target = memoryBackend();
  const name = 'tank/home';
  source.datasets.set(name, { versions: [], partial: null, createTXG: 0n });
  const generators = new Set<object>();
  const fingerprint = ({ datasets }: typeof source, { guid }: FilesystemVersion): Promise<string> => {
    const versions = datasets.get(name)?.versions ?? [];
    const content = versions.find(({ version }) => version.guid === guid)?.content;
    return Promise.resolve(hash('sha256', content!, 'hex'));
  };
  return Promise.resolve({
    filesystem: name.split('/'),
    format: memoryFormat,
    handler: noting(source.handler, generators),
    sink: target.sink,
    snapshot: (version, seed) => Promise.resolve(source.snapshot(name, version, seededBytes(`${seed}`, contentBytes))),
    bookmark: (snapshot, bookmark) => Promise.resolve(source.bookmark(name, snapshot.name, bookmark)),
    destroy(snapshot) {
      source.destroy(name, `@${snapshot.name}`);
      return Promise.resolve();
    },
    sourceFingerprint: (version) => fingerprint(source, version),
    targetFingerprint: (version) => fingerprint(target, version),
    breakCommit() {
      const full = new SnapferryError('INTERNAL', 'the disk is full');
      target.faults = { beforeCommit: () => Promise.reject(full) };
      return Promise.resolve(() => {
        target.faults = {};
        return Promise.resolve();
      });
    },
    isIdle: () => generators.size === 0,
    close: () => Promise.resolve(),
  });
}

/** The handler, with the transfers that it has under way in `open`. */
function noting(handler: RPCHandler, open: Set<object>): RPCHandler {
  const noted = (transfer: Transfer): Transfer => {
    const mark = {};
    const bytes = (async function* () {
      open.add(mark);
      try {
        yield* transfer.bytes;
      } finally {
        open.delete(mark);
      }
    })();
    return { ...transfer, bytes };
  };
  return {
    ...handler,
    initialTransfer: async (request, context) => noted(await handler.initialTransfer(request, context)),
    incrementalTransfer: async (request, context) => noted(await handler.incrementalTransfer(request, context)),
  };
}

describeBackend('the backend in memory', inMemory, { resumes: true });
