import type { WebhookNotification } from '../../config/global-settings.ts';
import { SnapferryError } from '../../errors.ts';
import { noticeDocument } from './notice.ts';
import type { Notice } from './notice.ts';
import { readSecret, redact } from './secret.ts';
import { tellable } from './trouble.ts';

const answerBytesQuoted = 1000;

/**
 * Posts a notice as JSON. Any answer of 200 to 299 is success; redirections are not followed, since they could lead a token
 * elsewhere. No error ever contains the address beyond its host, a header of the configuration, or the token.
 * @throws SnapferryError `CONNECT_FAILED`, `INVALID_REQUEST` when it is answered with a failure, `ACCESS_DENIED` when a file with a
 *   secret cannot be read, `CANCELLED`
 */
export async function deliverByWebhook(
  notification: WebhookNotification,
  notice: Notice,
  signal: AbortSignal,
): Promise<void> {
  const address = await addressOf(notification);
  const token = notification.bearerTokenFile === null ? null : await readSecret(notification.bearerTokenFile, 'token');
  const doing = `posting to the webhook at ${address.host}`;
  const secrets = [
    ...(token === null ? [] : [token]),
    ...Object.values(notification.headers),
    address.href,
    `${address.pathname}${address.search}`,
    decodeURIComponent(address.password),
  ];
  const fail = (code: 'CONNECT_FAILED' | 'INVALID_REQUEST', text: string): SnapferryError =>
    new SnapferryError(code, `${doing} failed: ${tellable(redact(text, secrets))}`);

  let response: Response;
  try {
    response = await fetch(withoutLogin(address), {
      method: 'POST',
      redirect: 'manual',
      signal,
      headers: {
        'user-agent': 'snapferry',
        ...(address.username !== '' && { authorization: basicLogin(address) }),
        ...notification.headers,
        'content-type': 'application/json',
        'idempotency-key': notice.id,
        ...(token !== null && { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(noticeDocument(notice)),
    });
  } catch (error) {
    if (signal.aborted) throw new SnapferryError('CANCELLED', `${doing} was cancelled`);
    throw fail('CONNECT_FAILED', reasonOf(error));
  }
  if (response.ok) {
    await response.body?.cancel();
    return;
  }
  const quoted = await beginningOf(response);
  if (response.status >= 300 && response.status < 400) {
    throw fail('INVALID_REQUEST', `HTTP ${response.status}: it has moved; write the address it has now`);
  }
  throw fail('INVALID_REQUEST', `HTTP ${response.status} ${response.statusText}${quoted === '' ? '' : `: ${quoted}`}`);
}

async function addressOf({ url, urlFile }: WebhookNotification): Promise<URL> {
  const text = url ?? (await readSecret(urlFile ?? '', 'webhook address'));
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) {
    throw new SnapferryError(
      'INVALID_REQUEST',
      `the address of the webhook${urlFile === null ? '' : ` in ${urlFile}`} does not begin with https://`,
    );
  }
  return new URL(text);
}

/** `fetch` refuses addresses with a login in them. */
function withoutLogin(address: URL): URL {
  const plain = new URL(address);
  plain.username = '';
  plain.password = '';
  return plain;
}

function basicLogin({ username, password }: URL): string {
  const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return `Basic ${Buffer.from(login).toString('base64')}`;
}

/** `fetch` says "fetch failed" and hides why in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  // Several addresses of a host that all failed are an AggregateError without a message.
  const code = (cause as NodeJS.ErrnoException).code;
  return cause.message === '' ? (code ?? error.message) : cause.message;
}

async function beginningOf(response: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    if (response.body === null) return '';
    for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
      pieces.push(piece);
      bytes += piece.byteLength;
      if (bytes >= answerBytesQuoted) break;
    }
  } catch {
    // The status says enough.
  }
  return tellable(Buffer.concat(pieces).subarray(0, answerBytesQuoted).toString('utf8'), 200);
}
