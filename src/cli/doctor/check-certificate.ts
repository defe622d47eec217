import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { TLSFiles } from '../../config/connection-settings.ts';
import type { Job } from '../../config/job.ts';
import type { Finding } from './finding.ts';
import { advice, cure } from './finding.ts';
import type { DoctorCheck } from './patient.ts';

const day = 24 * 3_600_000;
const soonMs = 14 * day;

/** Certificates of a job that are no longer, not yet, or not much longer valid. */
export const certificateCheck: DoctorCheck = {
  name: 'certificate',
  async examine({ job, machine: { nowMs } }) {
    const files = job === null ? null : tlsFilesOf(job);
    if (files === null) return [];
    const found = await Promise.all([files.cert, files.ca].map((path) => examineFile(path, nowMs)));
    return found.filter((finding) => finding !== null);
  },
};

function tlsFilesOf(job: Job): TLSFiles | null {
  if ('connect' in job && job.connect.type === 'tls') return job.connect;
  return 'serve' in job && job.serve.type === 'tls' ? job.serve : null;
}

async function examineFile(path: string, nowMs: number): Promise<Finding | null> {
  const look = cure('see what is in it', ['openssl', 'x509', '-noout', '-subject', '-dates', '-in', path]);
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(await readFile(path));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const message = `the certificate cannot be read: ${why}`;
    return { check: 'certificate', severity: 'problem', subject: path, message, cures: [look] };
  }
  const { validFrom, validTo } = certificate;
  const leftMs = Date.parse(validTo) - nowMs;
  const renew = advice(
    'have it renewed; it is read anew at the next connection, a "serve" job needs: snapferry reload',
  );
  const about = { check: 'certificate', subject: path, cures: [renew, look] };
  if (leftMs <= 0) return { ...about, severity: 'problem', message: `the certificate has expired, on ${validTo}` };
  if (Date.parse(validFrom) > nowMs) {
    return {
      ...about,
      severity: 'problem',
      message: `the certificate is not valid before ${validFrom}; is the clock right?`,
    };
  }
  if (leftMs > soonMs) return null;
  const days = Math.floor(leftMs / day);
  return { ...about, severity: 'notice', message: `the certificate expires in ${days} days, on ${validTo}` };
}
