import { toSnapferryError } from '../../errors.ts';
import { doctorChecks } from './checks.ts';
import type { Finding } from './finding.ts';
import type { DoctorCheck, Patient } from './patient.ts';

/** What was found about one patient. */
export interface Examination {
  /** Of the job, or the place as it was given. */
  readonly name: string;
  /** `pull zfs`, `zfs`. */
  readonly what: string;
  /** Problems first. */
  readonly findings: readonly Finding[];
}

/**
 * Goes through all checks. One that cannot be carried out is a finding, too.
 * @throws SnapferryError `CANCELLED`
 */
export async function examine(patient: Patient, checks: readonly DoctorCheck[] = doctorChecks): Promise<Examination> {
  const findings: Finding[] = [];
  for (const check of checks) {
    patient.machine.signal.throwIfAborted();
    findings.push(...(await carryOut(check, patient)));
  }
  const once = findings.filter((finding, index) => index === findings.findIndex((other) => isSame(finding, other)));
  const weight = ({ severity }: Finding): number => (severity === 'problem' ? 0 : 1);
  const what = [patient.job?.type, patient.job?.backend ?? patient.places[0]?.backend].filter(Boolean).join(' ');
  return { name: patient.name, what, findings: once.sort((a, b) => weight(a) - weight(b)) };
}

async function carryOut(check: DoctorCheck, patient: Patient): Promise<readonly Finding[]> {
  try {
    return await check.examine(patient);
  } catch (error) {
    const { code, message } = toSnapferryError(error);
    if (code === 'CANCELLED') throw error;
    const text = `this could not be looked at: ${message}`;
    return [{ check: check.name, severity: 'notice', subject: patient.name, message: text, cures: [] }];
  }
}

/** The same trouble may be met by several checks, and a missing tool by all. */
function isSame(one: Finding, other: Finding): boolean {
  return one.subject === other.subject && one.message === other.message;
}
