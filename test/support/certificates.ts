import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { missingPrograms } from './platform.ts';

const run = promisify(execFile);

/** What making certificates lacks on this machine, for `describePlatform`. */
export const opensslMissing = missingPrograms(['openssl'], 'openssl');

/** A certificate with its key, in PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** An authority made for a test. */
export interface Authority extends Certificate {
  /**
   * Issues a certificate.
   * @param subject e.g. `/CN=web1`
   * @param names its alternative names, e.g. `DNS:localhost,IP:127.0.0.1`
   * @param days how long it is valid; 0 for one that has expired by the time it is used
   */
  issue(subject: string, names?: string, days?: number): Promise<Certificate>;
  /** Removes its files. */
  remove(): Promise<void>;
}

/** Makes a certificate authority with the `openssl` program. */
export async function makeAuthority(subject = '/CN=snapferry test authority'): Promise<Authority> {
  const directory = await mkdtemp(join(tmpdir(), 'snapferry-ca-'));
  const path = (name: string): string => join(directory, name);
  const openssl = (...args: string[]) => run('openssl', args, { cwd: directory });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', subject, '-days', '10');
  let counter = 0;
  return {
    cert: await readFile(path('ca.pem'), 'utf8'),
    key: await readFile(path('ca.key'), 'utf8'),
    issue: async (name, names, days = 10) => {
      const base = `issued-${(counter += 1)}`;
      await openssl('req', '-new', ...newKey, '-keyout', `${base}.key`, '-out', `${base}.csr`, '-subj', name);
      await writeFile(
        path(`${base}.ext`),
        names === undefined ? 'basicConstraints=CA:FALSE\n' : `subjectAltName=${names}\n`,
      );
      const signing = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', `${base}.ext`];
      await openssl('x509', '-req', '-in', `${base}.csr`, '-out', `${base}.pem`, ...signing, '-days', String(days));
      return { cert: await readFile(path(`${base}.pem`), 'utf8'), key: await readFile(path(`${base}.key`), 'utf8') };
    },
    remove: () => rm(directory, { recursive: true }),
  };
}
