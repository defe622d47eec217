import { SnapferryError } from '../errors.ts';
import type { ByteStream } from '../transport/byte-stream.ts';
import type { Listener, OnConnection } from '../transport/listener.ts';
import { memoryPair } from '../transport/memory.ts';
import { DatasetTurns } from './dataset-turns.ts';

/**
 * Where the jobs of one process meet: `local` connections, for which a listener is known by its `listener_name` and no socket is
 * involved, and whose turn it is at a dataset.
 */
export class LocalListeners {
  readonly turns = new DatasetTurns();
  readonly #listening = new Map<string, OnConnection>();

  /**
   * Takes connections to a name until it is closed; those under way live on.
   * @throws SnapferryError `BUSY` if the name is taken
   */
  listen(name: string, onConnection: OnConnection): Promise<Listener> {
    if (this.#listening.has(name)) {
      const text = `another job of this process listens on the local listener ${JSON.stringify(name)}; give each its own name`;
      return Promise.reject(new SnapferryError('BUSY', text));
    }
    this.#listening.set(name, onConnection);
    let settle: () => void = () => undefined;
    const closed = new Promise<void>((resolve) => (settle = resolve));
    const close = (): Promise<void> => {
      if (this.#listening.get(name) === onConnection) this.#listening.delete(name);
      settle();
      return closed;
    };
    return Promise.resolve({ description: `local ${name}`, closed, close, [Symbol.asyncDispose]: close });
  }

  /**
   * Connects to a name as that identity. The caller owns the stream.
   * @throws SnapferryError `CONNECT_FAILED` if nobody listens
   */
  connect(name: string, identity: string): ByteStream {
    const onConnection = this.#listening.get(name);
    if (onConnection === undefined) {
      const text = `cannot connect to the local listener ${JSON.stringify(name)}: no job serves it at the moment`;
      throw new SnapferryError('CONNECT_FAILED', text);
    }
    const [near, far] = memoryPair({ descriptions: [`local ${name}`, `local ${name} (${identity})`] });
    void Promise.resolve()
      .then(() => onConnection(far, { identity, address: `local ${name}` }))
      .catch((error: unknown) => far.abort(error instanceof Error ? error : new Error(String(error))));
    return near;
  }
}
