import { execFileSync } from 'node:child_process';
import { describe, test } from 'vitest';

/**
 * A suite that needs something of the machine: a program, a filesystem, a privilege. With `missing` null it runs. If
 * something is missing the suite is skipped loudly, or fails when SNAPFERRY_REQUIRE_PLATFORM=1 says that this machine
 * was meant to have everything.
 * @param missing what the machine lacks and how to get it, or null
 */
export function describePlatform(name: string, missing: string | null, fn: () => void): void {
  if (missing === null) {
    describe(name, fn);
    return;
  }
  if (process.env['SNAPFERRY_REQUIRE_PLATFORM'] === '1') {
    describe(name, () => {
      test('the machine has what this suite needs', () => {
        throw new Error(`SNAPFERRY_REQUIRE_PLATFORM=1, but ${missing}`);
      });
    });
    return;
  }
  process.stderr.write(`\nSKIPPED platform suite "${name}": ${missing}\n`);
  describe.skip(`${name} (skipped: ${missing})`, fn);
}

/**
 * Null if all programs are on PATH (or in the sbin directories), otherwise which are not and the Debian package that
 * has them; made to be handed to {@link describePlatform}.
 */
export function missingPrograms(programs: readonly string[], debianPackage: string): string | null {
  const absent = programs.filter((program) => findProgram(program) === undefined);
  if (absent.length === 0) return null;
  return `${absent.join(', ')} not found; install the Debian package ${debianPackage}`;
}

/** Where `program` is, looked for on PATH and in the sbin directories that a user's PATH may leave out. */
export function findProgram(program: string): string | undefined {
  const PATH = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
  try {
    return execFileSync('/bin/sh', ['-c', 'command -v -- "$1"', 'sh', program], {
      env: { PATH },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}
