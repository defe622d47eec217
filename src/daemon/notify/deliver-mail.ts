import type { MailNotification } from '../../config/global-settings.ts';
import { SnapferryError } from '../../errors.ts';
import { noticeText, noticeTitle } from './notice.ts';
import type { Notice } from './notice.ts';
import { readSecret, redact } from './secret.ts';
import { tellable } from './trouble.ts';

/**
 * Sends a notice by mail. Certificates are always checked (an authority of one's own: `NODE_EXTRA_CA_CERTS`); with `starttls`,
 * nothing is sent to a server that cannot.
 * @throws SnapferryError `CONNECT_FAILED` when the server is not reached, is not who it should be, or does not take the mail;
 *   `ACCESS_DENIED` when the password cannot be read; `CANCELLED`
 */
export async function deliverByMail(
  notification: MailNotification,
  notice: Notice,
  signal: AbortSignal,
): Promise<void> {
  const { server } = notification;
  const password = server.passwordFile === null ? null : await readSecret(server.passwordFile, 'mail password');
  // Few daemons ever send mail.
  const { createTransport } = await import('nodemailer');
  const transport = createTransport({
    host: server.host,
    port: server.port,
    secure: server.security === 'tls',
    requireTLS: server.security === 'starttls',
    ignoreTLS: server.security === 'none',
    disableFileAccess: true,
    disableUrlAccess: true,
    ...(server.user !== null && password !== null && { auth: { user: server.user, pass: password } }),
  });
  const domain = notice.host.replace(/[^A-Za-z0-9.-]/g, '-');
  try {
    await transport.sendMail({
      signal,
      from: notification.from,
      to: [...notification.to],
      subject: noticeTitle(notice),
      text: noticeText(notice),
      date: new Date(notice.atMs),
      messageId: `<${notice.id}@${domain}>`,
      headers: {
        // Nobody's holiday reply should come back.
        'Auto-Submitted': 'auto-generated',
        'X-Snapferry-Job': notice.job,
        'X-Snapferry-Event': notice.event,
      },
    });
  } catch (error) {
    const doing = `sending mail through ${server.host}:${server.port}`;
    if (signal.aborted) throw new SnapferryError('CANCELLED', `${doing} was cancelled`);
    const reason = error instanceof Error ? error.message : String(error);
    const secrets = password === null ? [] : [password, `\0${server.user ?? ''}\0${password}`];
    throw new SnapferryError('CONNECT_FAILED', `${doing} failed: ${tellable(redact(reason, secrets))}`);
  } finally {
    transport.close();
  }
}
