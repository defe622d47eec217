import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SMTPServer } from 'smtp-server';
import type { SMTPServerOptions } from 'smtp-server';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { MailNotification } from '../../../src/config/global-settings.ts';
import { deliverByMail } from '../../../src/daemon/notify/deliver-mail.ts';
import { makeAuthority, opensslMissing } from '../../support/certificates.ts';
import type { Authority, Certificate } from '../../support/certificates.ts';
import { childArgv } from '../../support/child-program.ts';
import { failureNotice, noSignal } from '../../support/notice-fixture.ts';
import { describePlatform } from '../../support/platform.ts';

interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  readonly text: string;
  readonly isSecure: boolean;
}

const servers: SMTPServer[] = [];
const mails: Mail[] = [];
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-mail-'));
});
afterAll(() => rm(directory, { recursive: true }));
afterEach(async () => {
  mails.length = 0;
  for (const server of servers.splice(0)) await new Promise<void>((resolve) => server.close(resolve));
});

/** Starts a mail server that keeps what it gets; resolves with its port. */
async function startServer(options: SMTPServerOptions): Promise<number> {
  const server = new SMTPServer({
    logger: false,
    authOptional: true,
    closeTimeout: 1,
    onData(stream, session, callback) {
      void (async () => {
        let text = '';
        for await (const piece of stream.setEncoding('utf8')) text += String(piece);
        const { mailFrom, rcptTo } = session.envelope;
        const from = mailFrom === false ? '' : mailFrom.address;
        mails.push({ from, to: rcptTo.map(({ address }) => address), text, isSecure: session.secure });
        callback();
      })();
    },
    ...options,
  });
  servers.push(server);
  // Clients that go away in the middle are what some of these tests are about.
  server.on('error', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  return (server.server.address() as AddressInfo).port;
}

function mail(port: number, server: Partial<MailNotification['server']> = {}): MailNotification {
  return {
    type: 'mail',
    server: { host: '127.0.0.1', port, security: 'none', user: null, passwordFile: null, ...server },
    from: 'Backup <backup@example.com>',
    to: ['admin@example.com', 'second@example.com'],
  };
}

const plain: SMTPServerOptions = { disabledCommands: ['STARTTLS', 'AUTH'] };

test('a mail says who, what and how to go on, and that nobody should answer', async () => {
  const port = await startServer(plain);
  await deliverByMail(mail(port), failureNotice(), noSignal);
  expect(mails).toMatchObject([{ from: 'backup@example.com', to: ['admin@example.com', 'second@example.com'] }]);
  const { text } = mails[0]!;
  expect(text).toMatch(/^From: Backup <backup@example\.com>\r$/m);
  expect(text).toMatch(/^Subject: =\?UTF-8\?/m);
  expect(text).toMatch(/^Message-ID: <6b29fc40-ca47-1067-b31d-00dd010662da@vault\.example>\r$/m);
  expect(text).toMatch(/^Date: Sat, 21 Nov 2026 12:00:00 \+0000\r$/m);
  expect(text).toMatch(/^Auto-Submitted: auto-generated\r$/m);
  expect(text).toMatch(/^X-Snapferry-Job: web1\r$/m);
  expect(text).toContain('What to do: snapferry doctor web1');
});

test('no text from elsewhere becomes a header', async () => {
  const port = await startServer(plain);
  const [trouble] = failureNotice().troubles;
  const notice = failureNotice({ troubles: [{ ...trouble!, dataset: 'x\r\nBcc: all@example.com\r\n\r\nhello' }] });
  await deliverByMail(mail(port), notice, noSignal);
  const [head] = mails[0]!.text.split('\r\n\r\n', 1);
  expect(head).not.toMatch(/^Bcc:/im);
  expect(mails[0]!.to).toEqual(['admin@example.com', 'second@example.com']);
});

describe('a login', () => {
  const withLogin: SMTPServerOptions = {
    authOptional: false,
    allowInsecureAuth: true,
    disabledCommands: ['STARTTLS'],
    onAuth({ username, password }, _session, callback) {
      if (username === 'backup' && password === 'c0rrect-horse') callback(null, { user: username });
      else callback(new Error(`535 wrong password: ${String(password)}`));
    },
  };

  test('is made with the password in its file', async () => {
    const port = await startServer(withLogin);
    const passwordFile = join(directory, 'password');
    await writeFile(passwordFile, 'c0rrect-horse\n');
    await deliverByMail(mail(port, { user: 'backup', passwordFile }), failureNotice(), noSignal);
    expect(mails).toHaveLength(1);
  });

  test('that is refused is said to be, without the password, although the server quotes it', async () => {
    const port = await startServer(withLogin);
    const passwordFile = join(directory, 'wrong');
    await writeFile(passwordFile, 'wr0ng-horse\n');
    const telling = deliverByMail(mail(port, { user: 'backup', passwordFile }), failureNotice(), noSignal);
    const error = (await telling.catch((e: unknown) => e)) as Error;
    expect(error).toMatchObject({
      code: 'CONNECT_FAILED',
      message: expect.stringMatching(
        new RegExp(`^sending mail through 127\\.0\\.0\\.1:${port} failed: .*535 wrong password: \\[redacted\\]`),
      ) as string,
    });
    expect(error.cause).toBeUndefined();
    expect(mails).toHaveLength(0);
  });

  test('whose password cannot be read is not tried', async () => {
    const telling = deliverByMail(
      mail(1, { user: 'backup', passwordFile: join(directory, 'none') }),
      failureNotice(),
      noSignal,
    );
    await expect(telling).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
  });
});

test('a server that takes no encryption is sent nothing with starttls', async () => {
  const port = await startServer(plain);
  const telling = deliverByMail(mail(port, { security: 'starttls' }), failureNotice(), noSignal);
  await expect(telling).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
  expect(mails).toHaveLength(0);
});

test('a server that does not take the mail is quoted', async () => {
  const port = await startServer({
    ...plain,
    onRcptTo: (_address, _session, callback) =>
      callback(Object.assign(new Error('mailbox full'), { responseCode: 452 })),
  });
  await expect(deliverByMail(mail(port), failureNotice(), noSignal)).rejects.toMatchObject({
    message: expect.stringContaining('mailbox full') as string,
  });
});

test('a server that does not go on is given up at the signal', async () => {
  let connected: (() => void) | undefined;
  const connection = new Promise<void>((resolve) => (connected = resolve));
  const port = await startServer({ ...plain, onConnect: () => connected?.() });
  const controller = new AbortController();
  const telling = deliverByMail(mail(port), failureNotice(), controller.signal);
  await connection;
  controller.abort();
  await expect(telling).rejects.toMatchObject({ code: 'CANCELLED' });
});

describePlatform('mail over TLS', opensslMissing, () => {
  let authority: Authority;
  let certificate: Certificate;
  let caFile: string;

  beforeAll(async () => {
    authority = await makeAuthority();
    certificate = await authority.issue('/CN=localhost', 'DNS:localhost');
    caFile = join(directory, 'ca.pem');
    await writeFile(caFile, authority.cert);
  });
  afterAll(() => authority.remove());

  async function send(port: number, security: string, environment: NodeJS.ProcessEnv): Promise<string> {
    const [node, ...args] = childArgv('send-mail.ts', String(port), security);
    const { stdout } = await promisify(execFile)(node, args, { env: { PATH: process.env['PATH'], ...environment } });
    return stdout.trim();
  }

  test.each(['tls', 'starttls'])(
    '%s: is sent to a server whose certificate is trusted, and to no other',
    async (security) => {
      const port = await startServer({ ...certificate, secure: security === 'tls', disabledCommands: ['AUTH'] });
      expect(await send(port, security, {})).toMatch(/^sending mail through localhost:\d+ failed: .*certificate/i);
      expect(mails).toHaveLength(0);
      expect(await send(port, security, { NODE_EXTRA_CA_CERTS: caFile })).toBe('sent');
      expect(mails).toMatchObject([{ isSecure: true }]);
    },
  );
});
