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
export { ReplicationServer, type ReplicationServerOptions, type ServerHooks } from './rpc/server.ts';
export type { CurrentRequest, Session, SessionEnd } from './rpc/session.ts';
export type { Ending } from './rpc/answering.ts';
export type { RequestInProgress, RequestResult, RequestTrace } from './rpc/request-in-progress.ts';
export { answerCustom, customCall, type CustomCallDefinition } from './rpc/custom-requests.ts';
export { listRequests } from './rpc/dispatch-table.ts';
export { type DigestAlgorithm } from './rpc/digest.ts';
export type {
  AnswerOf,
  AnswerShape,
  CallOptions,
  CustomAnswer,
  CustomCall,
  CustomCallOptions,
  CustomRequest,
  FilesystemResult,
  FilesystemsRequest,
  FilesystemVersionsRequest,
  IncrementalTransferRequest,
  InitialReplicationPolicy,
  InitialTransferRequest,
  Logger,
  PreparedCustomRequest,
  Progress,
  Pull,
  PullMeRequest,
  PullReport,
  RequestContext,
  RPCHandler,
  RPCRequester,
  Shape,
  Transfer,
  TransferCompletedRequest,
  TransferEstimateRequest,
  TransferRequestOptions,
  UpgradeProtocol,
} from './rpc/interfaces.ts';

// Framing, for programs that speak the chunked format themselves.
export { chunk } from './chunker/chunk.ts';
export { ByteReader } from './chunker/byte-reader.ts';
export type { JSONInput, JSONValue } from './chunker/json-message.ts';
export { ChunkReader, unchunk, type ChunkReaderOptions, type MessageOptions } from './chunker/unchunk.ts';

// Transports.
export type { ByteStream } from './transport/byte-stream.ts';
export { connectCommand, type ConnectCommandOptions } from './transport/command.ts';
export { AddressIdentities } from './transport/address-identities.ts';
export { cleanEnvironment } from './transport/clean-environment.ts';
export { connectTimeoutMsDefault, type ConnectOptions } from './transport/connect-socket.ts';
export { IncomingBytes, type IncomingBytesOptions } from './transport/incoming-bytes.ts';
export { inheritedSockets, type InheritedSocket } from './transport/inherited-sockets.ts';
export { type Listener, type OnConnection, type Peer } from './transport/listener.ts';
export { memoryPair, type MemoryPairOptions } from './transport/memory.ts';
export { lingerMsDefault, nodeByteStream, type NodeByteStreamOptions } from './transport/node-streams.ts';
export { connectSSH, type ConnectSSHOptions, type SSHDestination } from './transport/ssh.ts';
export { stdio } from './transport/stdio.ts';
export {
  connectTCP,
  listenTCP,
  type ConnectTCPOptions,
  type ListenAddress,
  type ListenTCPOptions,
  type NetworkListener,
} from './transport/tcp.ts';
export {
  connectTLS,
  listenTLS,
  type ConnectTLSOptions,
  type ListenTLSOptions,
  type TLSCredentials,
} from './transport/tls.ts';
export { connectUnix, listenUnix, type ListenUnixOptions, type UnixListenPlace } from './transport/unix.ts';

// Storage backends.
export { readBtrfsResumeToken } from './handlers/btrfs/resume-token.ts';
export { listBtrfsCursors, releaseBtrfsCursor, type BtrfsCursor } from './handlers/btrfs/cursors.ts';
export { btrfsHandler, type BtrfsHandlerOptions, type BtrfsRoot } from './handlers/btrfs/handler.ts';
export { btrfsSink, type BtrfsSinkOptions } from './handlers/btrfs/sink.ts';
export { takeBtrfsSnapshot, type BtrfsSnapshotOptions, type BtrfsSnapshotResult } from './handlers/btrfs/snapshot.ts';
export { type BtrfsToolOptions } from './handlers/btrfs/tool.ts';
export { type ByteString, type Entry } from './handlers/directory/entry.ts';
export { directoryHandler, type DirectoryDataset } from './handlers/directory/handler.ts';
export { type NotApplied, type SnapshotHeader } from './handlers/directory/manifest.ts';
export { defaultReceiveLimits, type ReceiveLimits } from './handlers/directory/receive-delta.ts';
export { restore, type RestoreReport, type RestoreRequest } from './handlers/directory/restore.ts';
export { directorySink, type DirectorySinkOptions } from './handlers/directory/sink.ts';
export {
  takeSnapshot,
  type SnapshotDelta,
  type SnapshotOptions,
  type SnapshotResult,
} from './handlers/directory/snapshot.ts';
export {
  verifySnapshot,
  type DamagedFile,
  type VerifyOptions,
  type VerifyReport,
} from './handlers/directory/verify.ts';
export { restricted, type AccessPolicy } from './handlers/restricted.ts';
export type { ReadResumeToken, ResumeTokenClaims } from './handlers/admit-token.ts';
export { confinedSink, placeOfIdentity } from './handlers/confine-dataset.ts';
export { parseDatasetFilter, type DatasetFilter, type FilterRoot } from './dataset-filter.ts';
export { type CommandBytes } from './handlers/command-input.ts';
export { type RunningCommand } from './handlers/run-command.ts';
export { type ZfsArguments } from './handlers/zfs/commands.ts';
export { zfsTool, type ZfsCommandRequest, type ZfsTool, type ZfsToolOptions } from './handlers/zfs/commands-tool.ts';
export { zfsHandler, type ZfsHandlerOptions } from './handlers/zfs/handler.ts';
export { type ZfsRoot } from './handlers/zfs/handler-roots.ts';
export { type ZfsProtection } from './handlers/zfs/holds-job.ts';
export { listOurHolds, releaseOurHolds, type OurTrace, type TraceFilter } from './handlers/zfs/holds-ours.ts';
export { type HoldKind, type JobOwner } from './handlers/zfs/names-ours.ts';
export { type PlaceholderOptions } from './handlers/zfs/placeholder.ts';
export { guardedProperties, type ReceivePropertyOptions } from './handlers/zfs/receive-properties.ts';
export { decodeResumeToken as decodeZfsResumeToken, type ZfsResumeToken } from './handlers/zfs/resume-token.ts';
export { type ZfsSendOptions } from './handlers/zfs/send-options.ts';
export { zfsSink, type ZfsSinkOptions } from './handlers/zfs/sink.ts';
export { takeZfsSnapshots, type ZfsSnapshotRequest, type ZfsSnapshotResult } from './handlers/zfs/snapshot.ts';

// Replication.
export {
  describeConflict,
  type Conflict,
  type FilesystemPlan,
  type IgnoredVersion,
  type PlanFacts,
  type Step,
} from './replication/plan.ts';
export { planReplication } from './replication/plan-replication.ts';
export { replicate } from './replication/replicate.ts';
export { pullInto, type PullIntoOptions } from './replication/pull-me.ts';
export { type TransferProgress } from './replication/progress.ts';
export { defaultRetryPolicy, type RetryPolicy } from './replication/retry.ts';
export { conflictCode } from './replication/replication.ts';
export type {
  PlannedFilesystem,
  PlanReplicationOptions,
  ReplicateOptions,
  Replication,
  ReplicationEvent,
  ReplicationPlan,
  StepPosition,
} from './replication/replication.ts';

// Retention: what is kept and what is removed, decided without doing anything; and the doing. Never on the wire.
export {
  destroyedBy,
  planRetention,
  type Arbiter,
  type CommonVersions,
  type RetentionDecision,
  type RetentionPlan,
  type RetentionRequest,
} from './retention/plan-retention.ts';
export { executeRetention, type ExecuteRetentionOptions, type RetentionReport } from './retention/execute-retention.ts';
export { renderRetention, type RenderRetentionOptions, type RetentionDocument } from './retention/render-retention.ts';
export { type RetentionRule } from './retention/retention-rule.ts';
export { parseVersionList } from './retention/version-list.ts';
export { parseGrid, spellGrid, type GridBucket } from './snapshot-grid.ts';
export type {
  DestroyOutcome,
  ReplicationCursor,
  SnapshotDestroyer,
  SnapshotHold,
  StoredVersion,
  StoredVersions,
} from './snapshot-destroyer.ts';
export { btrfsDestroyer, type BtrfsDestroyerOptions } from './handlers/btrfs/destroy.ts';
export { directoryDestroyer } from './handlers/directory/destroy.ts';
export { zfsDestroyer, type ZfsDestroyerOptions } from './handlers/zfs/destroy.ts';

// Configuration of the daemon.
export {
  configurationFileDefault,
  type Configuration,
  type ConfigurationWarning,
  type WarningCode,
} from './config/configuration.ts';
export { ConfigurationError, type ConfigurationErrorOptions } from './config/configuration-error.ts';
export { loadConfiguration, readConfiguration, type ConfigurationFiles } from './config/load-configuration.ts';
export type {
  ActiveJob,
  Backend,
  Job,
  JobCore,
  LocalJob,
  PullJob,
  PushJob,
  ReceivingJob,
  SendingJob,
  SinkJob,
  SnapJob,
  SourceJob,
} from './config/job.ts';
export type * from './config/connection-settings.ts';
export type { DatasetSelection } from './config/dataset-selection.ts';
export type * from './config/global-settings.ts';
export type { KeepRule, PruningSettings, Retention } from './config/pruning-settings.ts';
export type { Schedule } from './config/schedule.ts';
export type * from './config/snapshotting.ts';
export type * from './config/transfer-settings.ts';

// Jobs and the daemon that runs them.
export { createJob } from './jobs/create-job.ts';
export { systemClock, type Clock } from './jobs/clock.ts';
export { LocalListeners } from './jobs/local-listeners.ts';
export type { DatasetTurns, EndTurn } from './jobs/dataset-turns.ts';
export type * from './jobs/job-events.ts';
export type * from './jobs/run-result.ts';
export type * from './jobs/runnable-job.ts';
export { Daemon, type DaemonOptions, type ReloadOutcome } from './daemon/daemon.ts';
export type { ConfiguredJobs } from './daemon/configured-jobs.ts';
export type * from './daemon/daemon-extension.ts';
export type * from './daemon/daemon-status.ts';
export { DaemonLog, type DaemonLogOptions } from './daemon/daemon-log.ts';
export { LogTail } from './daemon/log-tail.ts';
export type { Wakeup } from './daemon/job-runner.ts';
export { readHistory, type ReadHistory } from './daemon/read-history.ts';
export type { HistoryFold } from './daemon/history-fold.ts';
export type { BegunRun } from './daemon/history-record.ts';
export type { DatasetRecord, JobRecord, Trouble } from './daemon/job-record.ts';
export { monitoringExtensions } from './daemon/monitoring-extensions.ts';
