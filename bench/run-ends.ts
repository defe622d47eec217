import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { profileArguments, type AskingOptions, type EndsMeasurement } from './ends/end-options.ts';
import type { Settings } from './question.ts';
import { runProgram } from './run-program.ts';

/** Runs two fresh ends once, with a socket of their own. `name` is what their CPU profiles are put under. */
export async function runEnds(
  settings: Settings,
  name: string,
  options: Omit<AskingOptions, 'socketPath' | 'profileFolder'>,
): Promise<EndsMeasurement> {
  const folder = await mkdtemp(join(settings.workFolder, 'ends-'));
  const profileFolder = settings.profileFolder === null ? null : join(settings.profileFolder, fileNameOf(name));
  if (profileFolder !== null) await mkdir(profileFolder, { recursive: true });
  const argument: AskingOptions = { ...options, socketPath: join(folder, 'socket'), profileFolder };
  try {
    const profile = profileArguments(profileFolder, 'asking');
    return (await runProgram(settings, 'ends/asking-end.js', argument, profile)) as EndsMeasurement;
  } finally {
    await rm(folder, { recursive: true });
  }
}

function fileNameOf(name: string): string {
  return name.replace(/[^a-z0-9]+/gi, '-').replace(/^-|-$/g, '');
}
