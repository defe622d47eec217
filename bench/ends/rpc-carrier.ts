import type { ByteStream } from '../../src/transport/byte-stream.ts';
import type { OnConnection } from '../../src/transport/listener.ts';
import { connectSSH } from '../../src/transport/ssh.ts';
import { connectTCP, listenTCP } from '../../src/transport/tcp.ts';
import { connectTLS, listenTLS } from '../../src/transport/tls.ts';
import { connectUnix, listenUnix } from '../../src/transport/unix.ts';
import { loopback, type Address, type AskingOptions, type Credentials, type EndOptions } from './end-options.ts';
import { answerRPC } from './rpc-talk.ts';

/** Connects to the answering end's socket with the library's own transports. */
export function connectRPC(address: Address, options: EndOptions): Promise<ByteStream> {
  if ('path' in address) return connectUnix(address.path);
  if (options.carrier === 'tls') return connectTLS({ ...address, ...credentialsOf(options) });
  return connectTCP(address);
}

/** Has sshd run the answering end. */
export function spawnRPCBySSH(argv: readonly string[], { ssh }: AskingOptions): Promise<ByteStream> {
  if (ssh === undefined) throw new TypeError('ssh wants a host');
  return connectSSH({ ...ssh, command: argv, onStderrLine: (line) => process.stderr.write(`${line}\n`) });
}

/** Listens as `options` say, tells where, and answers one connection to its end. */
export async function listenRPC(options: EndOptions, onListening: (address: Address) => void): Promise<void> {
  let serve: (served: Promise<void>) => void;
  const served = new Promise<void>((resolve) => (serve = resolve));
  const onConnection: OnConnection = (stream) => serve(answerRPC(stream, options));
  const { carrier, socketPath: path } = options;
  if (carrier === 'unix') {
    const listener = await listenUnix(path, onConnection);
    onListening({ path });
    await served;
    await listener.close();
    return;
  }
  const anyPort = { host: loopback, port: 0 };
  const listener =
    carrier === 'tls'
      ? await listenTLS(anyPort, onConnection, credentialsOf(options))
      : await listenTCP(anyPort, onConnection, { identities: { [loopback]: 'bench' } });
  onListening({ host: loopback, port: listener.port });
  await served;
  await listener.close();
}

function credentialsOf({ credentials }: EndOptions): Credentials {
  if (credentials === undefined) throw new TypeError('TLS wants credentials');
  return credentials;
}
