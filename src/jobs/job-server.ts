import { randomBytes } from 'node:crypto';
import type { ServeSettings } from '../config/connection-settings.ts';
import { SnapferryError, toSnapferryError } from '../errors.ts';
import type { RPCHandler } from '../rpc/interfaces.ts';
import { ReplicationServer } from '../rpc/server.ts';
import type { Session } from '../rpc/session.ts';
import type { SessionEvent } from './job-events.ts';
import { openListeners } from './open-listeners.ts';
import { toRunError } from './run-error.ts';
import type { JobDependencies, JobService } from './runnable-job.ts';
import { ServedListeners } from './served-listeners.ts';

/** What a serving job brings along. */
export interface JobServerOptions {
  readonly job: string;
  readonly serve: ServeSettings;
  readonly dependencies: JobDependencies;
  /** Makes what has to be there before anybody is let in; again after each failure to listen. */
  readonly prepare: () => Promise<void>;
  /** Answers one session. What it throws is told to the peer. */
  readonly handlerFor: (session: Session) => RPCHandler;
  /** A session is over. */
  readonly onSessionEnd?: (session: Session) => void;
  /** Work that sessions have left behind. Awaited by a stop, and to be cancelled when `graceMs` is over. */
  readonly leave: (graceMs: number) => Promise<void>;
}

/** Serves a job until it is stopped, and tells what happens. */
export function serveJob(options: JobServerOptions): JobService {
  const { job, serve, dependencies, handlerFor, prepare } = options;
  const { clock, logger, global, localListeners, onEvent } = dependencies;
  const tell = (news: SessionEvent): void => onEvent({ atMs: clock.nowMs(), job, ...news });
  const server = new ReplicationServer({
    handler: handlerFor,
    logger,
    hooks: sessionHooks(options, tell),
  });
  const listeners = new ServedListeners({
    async open(onConnection) {
      await prepare();
      return openListeners(serve, onConnection, {
        localListeners,
        inheritedSockets: dependencies.inheritedSockets ?? [],
        stdinserverSockdir: global.serve.stdinserverSockdir,
        logger,
      });
    },
    onConnection: (stream, peer) => server.serve(stream, peer),
    onFailed: (error) => tell({ kind: 'listenFailed', error: toRunError(error) }),
    clock,
    logger,
  });
  return {
    listening: listeners.listening,
    async stop(graceMs) {
      await Promise.all([listeners.close(), server.disconnect(graceMs), options.leave(graceMs)]);
    },
  };
}

/** Sessions as events. */
function sessionHooks({ dependencies, onSessionEnd }: JobServerOptions, tell: (news: SessionEvent) => void) {
  const { clock } = dependencies;
  // Ids of sessions begin anew with each service.
  const service = randomBytes(4).toString('hex');
  const nameOf = ({ id }: Session): string => `${service}-${id}`;
  const beganMs = new WeakMap<Session, number>();
  return {
    onSession(session: Session) {
      beganMs.set(session, clock.monotonicMs());
      const { identity, remoteAddress: address } = session;
      tell({ kind: 'sessionBegan', session: nameOf(session), identity, address });
    },
    onSessionEnd(session: Session, end: Awaited<Session['closed']>) {
      const durationMs = clock.monotonicMs() - (beganMs.get(session) ?? clock.monotonicMs());
      const error = errorOf(end);
      tell({
        kind: 'sessionEnded',
        session: nameOf(session),
        identity: session.identity,
        durationMs,
        error: error === null ? null : toRunError(error),
      });
      onSessionEnd?.(session);
    },
    onRequestEnd(
      session: Session,
      request: { readonly short: string; readonly name: string },
      result: { code: string | null; durationMs: number; sentBytes: number; receivedBytes: number },
    ) {
      const { code, durationMs, sentBytes, receivedBytes } = result;
      tell({
        kind: 'requestDone',
        session: nameOf(session),
        identity: session.identity,
        request: request.short,
        bytes: sentBytes + receivedBytes,
        durationMs,
        error: code === null ? null : { code, message: `${request.short} was answered with ${code}` },
      });
    },
  };
}

function errorOf(end: Awaited<Session['closed']>): SnapferryError | null {
  if (end.kind === 'failed' || end.kind === 'refused') return toSnapferryError(end.error);
  if (end.kind !== 'vanished') return null;
  return new SnapferryError('CONNECTION_LOST', 'the client ended the connection without closing it');
}
