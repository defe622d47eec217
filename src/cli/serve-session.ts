import { ByteStreamRPC } from '../rpc/byte-stream-rpc.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import { SnapferryError } from '../errors.ts';
import { stdio } from '../transport/stdio.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import { exitCodeOf, exitCodes } from './exit-code.ts';
import type { ExitCode } from './exit-code.ts';
import type { Run } from './run.ts';
import { leavingHandler, watchedTransfers } from './watched-handler.ts';
import type { LeavingHandler } from './watched-handler.ts';
import { reportError } from './program-error.ts';

/** How long a request in progress may go on after SIGTERM, in ms. */
const leaveMsMax = 10_000;
/** How long the peer is given to take in the last answer and say goodbye, in ms. */
const goodbyeMsMax = 1000;

/**
 * Answers the one connection on stdin and stdout until the peer is done. A signal lets the request in progress finish
 * within limits and refuses the next ones. The exit code tells whether every transfer was sent whole.
 * @param open makes the handler; if it fails, every request is refused with its error, so that the peer gets the code
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
  const watched = watchedTransfers(handler, {
    onTransferFailed: (error) => fail(error, 'a transfer failed', exitCodes.failed),
  });
  const leaving = leavingHandler(watched);
  const stream = stdio();
  const stopListening = leaveOnSignal(run.signal, leaving, stream);
  try {
    await ByteStreamRPC.listen(stream, { handler: leaving.handler, clientIdentity, logger: run.logger });
  } finally {
    stopListening();
  }
  return exitCode;
}

function leaveOnSignal(signal: AbortSignal, leaving: LeavingHandler, stream: ByteStream): () => void {
  const drop = (): void => stream.abort(new SnapferryError('GOODBYE', 'the server was stopped by a signal'));
  const timers: NodeJS.Timeout[] = [];
  const onSignal = (): void => {
    timers.push(setTimeout(drop, leaveMsMax));
    void leaving.leave().then(() => timers.push(setTimeout(drop, goodbyeMsMax)));
  };
  signal.addEventListener('abort', onSignal, { once: true });
  return () => {
    signal.removeEventListener('abort', onSignal);
    timers.forEach(clearTimeout);
  };
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
