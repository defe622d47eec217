import { SnapferryError, toSnapferryError } from '../errors.ts';
import { onAbort, orAborted } from './aborting.ts';
import type { Connection } from './connection.ts';
import type { Fields } from './fields.ts';
import type { Pull, PullMeRequest, PullReport, RequestContext, RPCHandler } from './interfaces.ts';
import { decodeFinishedError, decodeReport, errorFromWire } from './messages.ts';
import { Requester, type PullOutcome } from './requester.ts';

/**
 * Asks the handler whether it will pull from this client. Everything that can refuse a pull comes here, before its
 * confirmation.
 * @throws SnapferryError `ACCESS_DENIED`, or what the handler refuses with
 */
export async function permitPull(
  handler: RPCHandler,
  decode: () => PullMeRequest,
  context: RequestContext,
): Promise<Pull> {
  const { clientIdentity, signal } = context;
  if (clientIdentity === '' || clientIdentity === 'local') {
    throw new SnapferryError('ACCESS_DENIED', 'PullMe needs a client with an identity of its own');
  }
  const request = decode();
  return orAborted(async () => {
    if (handler.pullMe === undefined) throw new SnapferryError('ACCESS_DENIED', 'nothing is received here');
    return handler.pullMe(request, context);
  }, signal);
}

/** How long a pull may take to end when its connection is gone. */
const pullEndMsMax = 30_000;

/** What a Finished says. */
export interface Finished {
  /** Null from a version-1 peer. */
  readonly report: PullReport | null;
  /** What the pull failed with over there. */
  readonly error: SnapferryError | null;
}

/** Reads the body of a PullMe that is finished. */
export function decodeFinished(body: Fields): Finished {
  return {
    report: body.has('Report') ? decodeReport(body.raw('Report')) : null,
    error: body.has('Error') ? errorFromWire(decodeFinishedError(body.raw('Error')), 'the pull') : null,
  };
}

/**
 * Runs a confirmed pull and tells its outcome to the peer; where that fails there is nothing left to tell it with.
 * @returns what the pull failed with, told to the peer, or null
 * @throws SnapferryError what broke the connection, or had to break it towards a version-1 peer
 */
export async function runPull(connection: Connection, pull: Pull): Promise<SnapferryError | null> {
  connection.onCancel = null;
  const requester = new Requester(connection, null);
  try {
    const outcome = await outcomeOf(pull, requester, connection);
    // Version 1 knows no other sign of a failed pull than the end of the connection.
    if (connection.version === 1 && 'error' in outcome) throw outcome.error;
    if (connection.failure !== null) throw connection.failure;
    await requester.finish(outcome);
    return 'error' in outcome ? toSnapferryError(outcome.error) : null;
  } catch (cause) {
    const failure = toSnapferryError(cause);
    connection.fail(failure);
    throw failure;
  } finally {
    requester.retire();
  }
}

async function outcomeOf(pull: Pull, requester: Requester, connection: Connection): Promise<PullOutcome> {
  // What the pull has begun it may put in order; but one that hangs must not keep a connection that is gone.
  const givenUp = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const stopListening = onAbort([connection.died], () => {
    timer = setTimeout(() => givenUp.abort(connection.failure), pullEndMsMax);
  });
  try {
    return { report: await orAborted(() => pull(requester), givenUp.signal, 'the pull') };
  } catch (error) {
    connection.logger.warn({ err: error }, 'a pull over an inverted connection failed');
    return { error };
  } finally {
    stopListening();
    clearTimeout(timer);
  }
}
