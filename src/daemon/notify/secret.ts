import { readFile } from 'node:fs/promises';
import { SnapferryError } from '../../errors.ts';

/**
 * Reads a secret: the first line of a file, without space around it. Read each time it is used, so that a new password needs no
 * reload.
 * @param what what it is, for the error
 * @throws SnapferryError `ACCESS_DENIED` if it cannot be read, `INVALID_REQUEST` if there is nothing in it
 */
export async function readSecret(path: string, what: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new SnapferryError('ACCESS_DENIED', `cannot read ${what}: ${reason}; the daemon's user must be able to`);
  }
  const secret = (text.split('\n', 1)[0] ?? '').trim();
  if (secret === '') throw new SnapferryError('INVALID_REQUEST', `there is no ${what} in the first line of ${path}`);
  return secret;
}

const redacted = '[redacted]';
const secretCharactersMin = 4;

/**
 * The text with every secret in it replaced, also where it is percent-encoded or in base64: what servers and libraries answer may
 * quote what they were sent.
 */
export function redact(text: string, secrets: readonly string[]): string {
  const forms = secrets
    .filter((secret) => secret.length >= secretCharactersMin)
    .flatMap((secret) => [secret, encodeURIComponent(secret), Buffer.from(secret).toString('base64')])
    // The longest first, for one may be a part of another.
    .sort((one, other) => other.length - one.length);
  return forms.reduce((rest, form) => rest.replaceAll(form, redacted), text);
}
