import type { ListenSettings } from '../../config/connection-settings.ts';
import { SnapferryError, toSnapferryError } from '../../errors.ts';
import { listenHTTP, plainText } from '../../transport/http-listener.ts';
import type { HTTPRoutes } from '../../transport/http-listener.ts';
import type { InheritedSocket } from '../../transport/inherited-sockets.ts';
import type { ListenAddress, NetworkListener } from '../../transport/tcp.ts';
import type { DaemonExtension, DaemonExtensionContext } from '../daemon-extension.ts';
import { createDaemonMetrics } from './daemon-metrics.ts';
import type { DaemonMetrics } from './daemon-metrics.ts';

/** What may be chosen about {@link metricsExtension}. */
export interface MetricsExtensionOptions {
  /** Whose metrics are served; by default some of its own. */
  readonly metrics?: DaemonMetrics | undefined;
  /** What systemd has opened for this process; none by default. */
  readonly inheritedSockets?: readonly InheritedSocket[] | undefined;
  /** Told where it listens, each time it begins to. */
  readonly onListening?: ((listener: NetworkListener) => void) | undefined;
}

const listenAgainMs = 30_000;

/**
 * Serves metrics on `global.monitoring`: `/metrics` for Prometheus, and `/healthz`, which answers as long as the daemon does. Follows
 * a reload. Where it cannot listen, it says so in the log and tries again every 30 seconds; the daemon goes on.
 */
export function metricsExtension(options: MetricsExtensionOptions = {}): DaemonExtension {
  return {
    name: 'metrics',
    async start(context) {
      const metrics = options.metrics ?? createDaemonMetrics();
      const unsubscribe = context.subscribe((event) => metrics.observe(event));
      const server = new MetricsServer(context, metrics, options);
      const offReload = context.onReload(() => void server.follow());
      await server.follow();
      return {
        async [Symbol.asyncDispose]() {
          unsubscribe();
          offReload();
          await server.close();
        },
      };
    },
  };
}

/** Keeps listening where the configuration says. */
class MetricsServer {
  readonly #context: DaemonExtensionContext;
  readonly #options: MetricsExtensionOptions;
  readonly #routes: HTTPRoutes;
  /** One change at a time: a reload may come while the last one is still being followed. */
  #changes: Promise<void> = Promise.resolve();
  #listener: NetworkListener | null = null;
  /** What it listens on, or tries to; null: nothing. */
  #wanted: string | null = null;
  #cancelRetry: () => void = () => undefined;
  #isClosed = false;

  constructor(context: DaemonExtensionContext, metrics: DaemonMetrics, options: MetricsExtensionOptions) {
    this.#context = context;
    this.#options = options;
    this.#routes = {
      '/metrics': async () => ({ status: 200, ...(await metrics.expose(context.status())) }),
      '/healthz': () => {
        context.status();
        return plainText(200, 'ok\n');
      },
    };
  }

  /** Resolves when it listens where it should, or has failed to for the first time. */
  follow(): Promise<void> {
    return this.#change(async () => {
      const settings = this.#isClosed ? null : (this.#context.configuration().global.monitoring?.listen ?? null);
      const wanted = settings === null ? null : JSON.stringify(settings);
      if (wanted === this.#wanted) return;
      await this.#stop();
      this.#wanted = wanted;
      if (settings !== null) await this.#listen(settings);
    });
  }

  close(): Promise<void> {
    this.#isClosed = true;
    return this.follow();
  }

  #change(run: () => Promise<void>): Promise<void> {
    this.#changes = this.#changes.then(run);
    return this.#changes;
  }

  async #stop(): Promise<void> {
    this.#cancelRetry();
    await this.#listener?.close();
    this.#listener = null;
  }

  async #listen(settings: ListenSettings): Promise<void> {
    const { logger } = this.#context;
    try {
      const listener = await listenHTTP(this.#addressOf(settings), this.#routes, logger);
      this.#listener = listener;
      listener.closed.catch((error: unknown) => this.#retryLater(settings, error));
      logger.info({ listener: listener.description }, `metrics are served on ${listener.description}`);
      this.#options.onListening?.(listener);
    } catch (error) {
      this.#retryLater(settings, error);
    }
  }

  #retryLater(settings: ListenSettings, cause: unknown): void {
    const error = toSnapferryError(cause, 'CONNECT_FAILED', 'cannot serve metrics');
    this.#context.logger.error({ err: error }, `metrics are not served: ${error.message}`);
    const wanted = this.#wanted;
    this.#cancelRetry();
    this.#cancelRetry = this.#context.clock.after(listenAgainMs, () => {
      void this.#change(async () => {
        if (this.#wanted === wanted && !this.#isClosed) await this.#listen(settings);
      });
    });
  }

  #addressOf(settings: ListenSettings): ListenAddress {
    if (!('socketName' in settings)) return { host: settings.host ?? '', port: settings.port };
    const socket = this.#options.inheritedSockets?.find(({ name }) => name === settings.socketName);
    if (socket !== undefined) return { fd: socket.fd };
    throw new SnapferryError(
      'INVALID_REQUEST',
      `monitoring listens on the socket "${settings.socketName}", which systemd has not opened for this process; ` +
        `start it by a socket unit with FileDescriptorName=${settings.socketName}, or write an address`,
    );
  }
}
