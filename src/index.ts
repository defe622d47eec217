// The vocabulary.
export {
  checkDatasetPath,
  checkVersionName,
  formatDatasetPath,
  formatVersion,
  parseDatasetPath,
  sameDataset,
  type DatasetPath,
  type FilesystemVersion,
} from './dataset.ts';
export { errorCodes, isErrorCode, SnapferryError, type ErrorCode, type SnapferryErrorOptions } from './errors.ts';
export { defaultLimits, type Limits } from './limits.ts';
export type { ReceiveRequest, ReceiveResult, ReplicationSink, ResumeState, TransferBytes } from './sink.ts';

// The RPC.
export { ByteStreamRPC, type ByteStreamRPCOptions, type ListenOptions } from './rpc/byte-stream-rpc.ts';
export { LocalRPC, type LocalRPCOptions } from './rpc/local-rpc.ts';
export { type DigestAlgorithm } from './rpc/digest.ts';
export type {
  CallOptions,
  FilesystemResult,
  FilesystemsRequest,
  FilesystemVersionsRequest,
  IncrementalTransferRequest,
  InitialReplicationPolicy,
  InitialTransferRequest,
  Logger,
  Progress,
  Pull,
  PullMeRequest,
  PullReport,
  RequestContext,
  RPCHandler,
  RPCRequester,
  Transfer,
  TransferCompletedRequest,
  TransferEstimateRequest,
  TransferRequestOptions,
} from './rpc/interfaces.ts';

// Framing, for programs that speak the chunked format themselves.
export { chunk } from './chunker/chunk.ts';
export { unchunk } from './chunker/unchunk.ts';

// Transports.
export type { ByteStream } from './transport/byte-stream.ts';
export { connectCommand, type ConnectCommandOptions } from './transport/command.ts';
export { type Listener, type OnConnection, type Peer } from './transport/listener.ts';
export { memoryPair, type MemoryPairOptions } from './transport/memory.ts';
export { nodeByteStream, type NodeByteStreamOptions } from './transport/node-streams.ts';
export { connectUnix, listenUnix, type ListenUnixOptions } from './transport/unix.ts';

// Replication.
export {
  describeConflict,
  type Conflict,
  type FilesystemPlan,
  type IgnoredVersion,
  type Step,
} from './replication/plan.ts';
export { planReplication } from './replication/plan-replication.ts';
export { replicate } from './replication/replicate.ts';
export type {
  PlannedFilesystem,
  PlanReplicationOptions,
  ReplicateOptions,
  Replication,
  ReplicationEvent,
  ReplicationPlan,
  StepPosition,
} from './replication/replication.ts';
