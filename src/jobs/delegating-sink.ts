import type { ReplicationSink } from '../sink.ts';

/** A sink that behaves as `sink` does, except for what is overridden. What `sink` lacks stays absent. */
export function delegatingSink(sink: ReplicationSink, overrides: Partial<ReplicationSink>): ReplicationSink {
  const missing = sink.missing?.bind(sink);
  const settle = sink.settle?.bind(sink);
  return {
    filesystemVersions: (filesystem, signal) => sink.filesystemVersions(filesystem, signal),
    resumeState: (filesystem, signal) => sink.resumeState(filesystem, signal),
    discardPartial: (filesystem) => sink.discardPartial(filesystem),
    createParents: (filesystem) => sink.createParents(filesystem),
    receive: (request, bytes, signal) => sink.receive(request, bytes, signal),
    ...(missing && { missing }),
    ...(settle && { settle }),
    ...overrides,
  };
}
