import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import type { NetworkListener } from '../../src/transport/tcp.ts';
import { certificateIdentity, connectTLS, listenTLS } from '../../src/transport/tls.ts';
import type { ConnectTLSOptions, ListenTLSOptions } from '../../src/transport/tls.ts';
import { describeTransport } from '../conformance/transport.ts';
import type { TransportPair } from '../conformance/transport.ts';
import { makeAuthority, opensslMissing } from '../support/certificates.ts';
import type { Authority, Certificate } from '../support/certificates.ts';
import { describePlatform } from '../support/platform.ts';

async function readAll(stream: ByteStream): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream.source) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces).toString();
}

async function failureOf(promise: Promise<unknown>): Promise<SnapferryError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof SnapferryError) return error;
    throw error;
  }
  throw new Error('it was expected to fail');
}

describePlatform('TLS', opensslMissing, () => {
  let authority: Authority;
  let stranger: Authority;
  let server: Certificate;
  let client: Certificate;
  beforeAll(async () => {
    [authority, stranger] = await Promise.all([makeAuthority(), makeAuthority()]);
    server = await authority.issue('/CN=server', 'DNS:localhost,DNS:backup.example,IP:127.0.0.1');
    client = await authority.issue('/CN=laptop');
  });
  afterAll(() => Promise.all([authority.remove(), stranger.remove()]));

  /** Greets each client by its identity. */
  const greeter = (more: Partial<ListenTLSOptions> = {}): Promise<NetworkListener> =>
    listenTLS(
      { host: '127.0.0.1', port: 0 },
      async (stream, peer) => {
        await stream.write(Buffer.from(`hello ${peer.identity ?? 'nobody'}`));
        await stream.close();
      },
      { ca: authority.cert, ...server, ...more },
    );
  const connect = (listener: NetworkListener, more: Partial<ConnectTLSOptions> = {}): Promise<ByteStream> =>
    connectTLS({ host: '127.0.0.1', port: listener.port, ca: authority.cert, ...client, ...more });

  const makePair = async (): Promise<TransportPair> => {
    let accepted: (stream: ByteStream) => void = () => undefined;
    const arrival = new Promise<ByteStream>((resolve) => (accepted = resolve));
    const listener = await listenTLS({ host: '127.0.0.1', port: 0 }, (stream) => accepted(stream), {
      ca: authority.cert,
      ...server,
    });
    const a = await connect(listener);
    return { a, b: await arrival, cleanup: () => listener.close() };
  };
  describeTransport('tls', makePair, { abortLooksLikeEnd: true });

  test("the client's identity is its common name, and each side's name is checked", async () => {
    await using listener = await greeter({ clients: ['laptop'] });
    const byAddress = await connect(listener);
    expect(await readAll(byAddress)).toBe('hello laptop');
    await byAddress.close();
    const byName = await connect(listener, { serverName: 'backup.example' });
    expect(await readAll(byName)).toBe('hello laptop');
    await byName.close();
  });

  test('without a common name, the first DNS name is the identity', async () => {
    await using listener = await greeter();
    const stream = await connect(listener, await authority.issue('/O=somebody', 'DNS:desk.example,DNS:other'));
    expect(await readAll(stream)).toBe('hello desk.example');
    await stream.close();
  });

  test('a host that is a name, whichever of its addresses answers', async () => {
    await using listener = await greeter();
    const stream = await connect(listener, { host: 'localhost' });
    expect(await readAll(stream)).toBe('hello laptop');
    await stream.close();
  });

  test('nobody listening is said as plainly as without TLS', async () => {
    const listener = await greeter();
    await listener.close();
    const failure = await failureOf(connect(listener));
    expect(failure.code).toBe('CONNECT_FAILED');
    expect(failure.message).toContain('nobody listens there; is the server running?');
  });

  describe('the client refuses', () => {
    test('a server of another authority', async () => {
      await using listener = await greeter();
      const failure = await failureOf(connect(listener, { ca: stranger.cert }));
      expect(failure.code).toBe('CONNECT_FAILED');
      expect(failure.message).toContain("the server's certificate was not accepted: it is of another authority");
    });

    test('a server whose certificate has expired', async () => {
      const expired = await authority.issue('/CN=server', 'IP:127.0.0.1', 0);
      await using listener = await greeter(expired);
      const failure = await failureOf(connect(listener));
      expect(failure.message).toContain("the server's certificate was not accepted: it has expired");
    });

    test('a server of another name', async () => {
      await using listener = await greeter();
      const failure = await failureOf(connect(listener, { serverName: 'elsewhere.example' }));
      expect(failure.message).toContain("the server's certificate is not for elsewhere.example");
    });

    test('something that does not speak TLS', async () => {
      const plain = createServer((socket) => {
        socket.on('error', () => undefined);
        socket.end('SSH-2.0-OpenSSH\r\n');
      }).listen(0, '127.0.0.1');
      await once(plain, 'listening');
      const { port } = plain.address() as AddressInfo;
      const attempt = connectTLS({ host: '127.0.0.1', port, ca: authority.cert, ...client });
      expect((await failureOf(attempt)).code).toBe('CONNECT_FAILED');
      plain.close();
    });

    test('a server that never answers the handshake', async () => {
      const silent = createServer().listen(0, '127.0.0.1');
      await once(silent, 'listening');
      const arrived = once(silent, 'connection');
      const { port } = silent.address() as AddressInfo;
      const attempt = connectTLS({ host: '127.0.0.1', port, ca: authority.cert, ...client, timeoutMs: 50 });
      expect((await failureOf(attempt)).code).toBe('TIMEOUT');
      const [socket] = (await arrived) as [{ destroy(): void }];
      socket.destroy();
      silent.close();
    });
  });

  describe('the server refuses, and says why', () => {
    const refusal = async (
      more: Partial<ConnectTLSOptions>,
      options: Partial<ListenTLSOptions> = {},
    ): Promise<string> => {
      await using listener = await greeter(options);
      const stream = await connect(listener, more);
      const text = await readAll(stream);
      await stream.close();
      return text;
    };

    test('a client of another authority', async () => {
      expect(await refusal(await stranger.issue('/CN=laptop'))).toMatch(
        /does not accept .*: it is of another authority/,
      );
    });

    test('a client whose certificate has expired', async () => {
      const expired = await authority.issue('/CN=laptop', undefined, 0);
      expect(await refusal(expired)).toMatch(/does not accept .*: it has expired; renew it\n$/);
    });

    test('a client that is not among those configured', async () => {
      expect(await refusal({}, { clients: ['desktop'] })).toMatch(/: laptop is not among the clients\n$/);
    });

    test('a client whose certificate names nobody, or several', async () => {
      expect(await refusal(await authority.issue('/O=somebody'))).toMatch(/: it has no common name/);
      expect(await refusal(await authority.issue('/CN=laptop/CN=desktop'))).toMatch(/or several common names/);
    });
  });

  test('credentials that are none are refused before anything is connected', async () => {
    const attempt = connectTLS({
      host: '127.0.0.1',
      port: 9,
      ca: authority.cert,
      cert: 'no certificate',
      key: client.key,
    });
    expect(await failureOf(attempt)).toMatchObject({ code: 'INVALID_REQUEST' });
    const listening = listenTLS({ host: '127.0.0.1', port: 0 }, () => undefined, {
      ca: authority.cert,
      cert: server.cert,
      key: client.key,
    });
    expect(await failureOf(listening)).toMatchObject({ code: 'INVALID_REQUEST' });
  });
});

describe('certificateIdentity', () => {
  const named = (subject: object, subjectaltname?: string): string | undefined =>
    certificateIdentity({ subject, ...(subjectaltname !== undefined && { subjectaltname }) } as never);

  test('takes nothing for a name that a certificate could smuggle in', () => {
    expect(named({ CN: 'web1' }, 'DNS:other')).toBe('web1');
    expect(named({ CN: ['web1', 'web2'] }, 'DNS:other')).toBeUndefined();
    expect(named({ CN: '' }, 'DNS:other')).toBeUndefined();
    expect(named({}, 'DNS:a.example, DNS:b.example')).toBe('a.example');
    // Node quotes an alternative name that has characters of its own syntax in it.
    expect(named({}, 'DNS:"evil, DNS:web1"')).toBeUndefined();
    expect(named({}, 'IP Address:127.0.0.1')).toBeUndefined();
    expect(named({})).toBeUndefined();
  });
});
