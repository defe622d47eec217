/** The version every peer speaks, and the one negotiated inside its hello (docs/PROTOCOL.md). */
export const protocolVersions = { compatible: 1, current: 2 } as const;

/** Number of a request on the wire. */
export const requestType = {
  protocolVersion: 0x01,
  filesystems: 0x10,
  filesystemVersions: 0x11,
  initialTransfer: 0x12,
  incrementalTransfer: 0x13,
  transferEstimate: 0x14,
  transferCompleted: 0x15,
  pullMe: 0x20,
  upgrade: 0x30,
  close: 0xf0,
} as const;

/** Numbers an embedding program may give to requests of its own, both included. */
export const customRequestTypes = { first: 0x80, last: 0xef } as const;

/** What follows a response header. */
export const responseType = {
  none: 0x00,
  ok: 0x01,
  filesystems: 0x10,
  filesystemDiff: 0x11,
  json: 0x12,
  chunkedStream: 0x20,
} as const;

/** Kind of failure in a response header or trailer; the finer `Code` travels beside it in version 2. */
export const errorId = {
  none: 0,
  decodeHeader: 1,
  unknownRequestType: 2,
  decodeRequestBody: 3,
  protocolVersionMismatch: 4,
  handler: 5,
  goodbye: 6,
  cancelled: 7,
} as const;

const names = new Map<number, string>([
  [requestType.protocolVersion, 'ProtocolVersion'],
  [requestType.filesystems, 'Filesystems'],
  [requestType.filesystemVersions, 'FilesystemVersions'],
  [requestType.initialTransfer, 'InitialTransfer'],
  [requestType.incrementalTransfer, 'IncrementalTransfer'],
  [requestType.transferEstimate, 'TransferEstimate'],
  [requestType.transferCompleted, 'TransferCompleted'],
  [requestType.pullMe, 'PullMe'],
  [requestType.upgrade, 'Upgrade'],
  [requestType.close, 'Close'],
]);

/** Name of a request type for logs and errors. */
export function requestName(type: number): string {
  return names.get(type) ?? `request 0x${type.toString(16)}`;
}
