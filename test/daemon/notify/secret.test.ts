import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSecret, redact } from '../../../src/daemon/notify/secret.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapferry-secret-'));
});
afterAll(() => rm(directory, { recursive: true }));

test('a secret is the first line of its file', async () => {
  const path = join(directory, 'password');
  await writeFile(path, '  correct horse \r\nsecond line\n');
  expect(await readSecret(path, 'mail password')).toBe('correct horse');
});

test('a file that is missing or empty is named, with what it is for', async () => {
  const path = join(directory, 'missing');
  await expect(readSecret(path, 'mail password')).rejects.toMatchObject({
    code: 'ACCESS_DENIED',
    message: expect.stringMatching(/cannot read mail password: ENOENT.*missing.*daemon's user/) as string,
  });
  await writeFile(path, '\nhunter2\n');
  await expect(readSecret(path, 'token')).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: `there is no token in the first line of ${path}`,
  });
});

test('a secret is found in every form in which it may be quoted', () => {
  const secret = 'p@ss/word+1';
  const text = `sent ${secret}, ${encodeURIComponent(secret)}, ${Buffer.from(secret).toString('base64')}.`;
  expect(redact(text, [secret])).toBe('sent [redacted], [redacted], [redacted].');
});

test('the longer of two secrets is redacted whole; what is too short to be one is left', () => {
  expect(redact('abcdefgh abcde /', ['abcde', 'abcdefgh', '/', ''])).toBe('[redacted] [redacted] /');
});
