import { ReplicationServer } from '../rpc/server.ts';
import type { SessionEnd } from '../rpc/session.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import { SnapferryError } from '../errors.ts';
import { stdio } from '../transport/stdio.ts';
import { exitCodeOf, exitCodes } from './exit-code.ts';
import type { ExitCode } from './exit-code.ts';
import type { Run } from './run.ts';
import { watchedTransfers } from '../jobs/watched-transfers.ts';
import { reportError } from './program-error.ts';

/** How long a request in progress may go on after SIGTERM, in ms. */
const leaveMsMax = 10_000;

/**
 * Answers the one connection on stdin and stdout until the peer is done. A signal lets the request in progress finish
 * within limits and refuses the next ones. The exit code tells whether every transfer was sent whole.
 * @param open makes the handler; if it fails, every request is refused with its error, so that the peer gets the code
 * @throws SnapferryError what broke the connection
 */
export async function serveStdio(run: Run, open: () => Promise<RPCHandler>, clientIdentity: string): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.done;
  const fail = (error: unknown, what: string, code: ExitCode): void => {
    exitCode = code;
    run.logger.warn({ err: error }, what);
  };
  const handler = await open().catch((error: unknown) => {
    fail(error, 'refused', exitCodeOf(reportError(error)));
    return refusingHandler(error);
  });
  const ends: SessionEnd[] = [];
  const server = new ReplicationServer({
    handler: watchedTransfers(handler, {
      onTransferFailed: (error) => fail(error, 'a transfer failed', exitCodes.failed),
    }),
    logger: run.logger,
    hooks: { onSessionEnd: (_session, end) => ends.push(end) },
  });
  const onSignal = (): void => void server.disconnect(leaveMsMax);
  if (run.signal.aborted) onSignal();
  run.signal.addEventListener('abort', onSignal, { once: true });
  try {
    await server.serve(stdio(), { identity: clientIdentity, address: 'stdio' });
  } finally {
    run.signal.removeEventListener('abort', onSignal);
  }
  const [end] = ends;
  if (end?.kind === 'failed') throw end.error;
  return exitCode;
}

function refusingHandler(error: unknown): RPCHandler {
  const { message } = reportError(error);
  const refusal = error instanceof SnapferryError ? error : new SnapferryError('INVALID_REQUEST', message);
  const refuse = () => Promise.reject(refusal);
  return {
    filesystems: refuse,
    filesystemVersions: refuse,
    initialTransfer: refuse,
    incrementalTransfer: refuse,
    pullMe: refuse,
  };
}
