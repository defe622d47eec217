import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SnapferryError } from '../../errors.ts';

/** Where the tar that writes into a partial receive is noted; written anew by every attempt. */
export function extractorRecord(receiveDirectory: string): string {
  return join(receiveDirectory, 'extractor.json');
}

const pollMs = 20;
const patienceMs = 10_000;

/**
 * Notes in a partial receive which tar writes into it. Should this process be killed, tar goes on for a moment with
 * what is in its pipe, and nobody must meddle until it has noticed.
 */
export async function recordExtractor(receiveDirectory: string, pid: number | undefined): Promise<void> {
  if (pid === undefined) return;
  const record = JSON.stringify({ pid, identity: await processIdentity(pid) });
  await writeFile(extractorRecord(receiveDirectory), record, { mode: 0o600 });
}

/**
 * Resolves once the tar noted in a partial receive is gone; at once when there is none.
 * @throws SnapferryError `BUSY` when it does not go within some seconds
 */
export async function awaitExtractorGone(receiveDirectory: string): Promise<void> {
  let pid: unknown;
  let identity: unknown;
  try {
    const text = await readFile(extractorRecord(receiveDirectory), 'utf8');
    ({ pid, identity } = JSON.parse(text) as { pid?: unknown; identity?: unknown });
  } catch {
    return;
  }
  if (typeof pid !== 'number' || typeof identity !== 'string') return;
  for (let waitedMs = 0; (await processIdentity(pid)) === identity; waitedMs += pollMs) {
    if (waitedMs >= patienceMs) {
      throw new SnapferryError(
        'BUSY',
        `process ${pid} (tar) of an interrupted receive still writes into ${receiveDirectory}; try again when it is done`,
      );
    }
    await sleep(pollMs);
  }
}

/** Tells a process from a later one with the same number; null when there is no such process. */
async function processIdentity(pid: number): Promise<string | null> {
  try {
    const [stat, bootId] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
    ]);
    // The name of the program, in parentheses, may hold anything; the start time is the 20th field after it.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' ? null : `${bootId.trim()}/${fields[18] ?? ''}`;
  } catch {
    return null;
  }
}
