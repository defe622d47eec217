import { join } from 'node:path';
import { sshArguments } from '../../src/transport/ssh.ts';
import type { AskingOptions } from './end-options.ts';
import { spawnRaw } from './raw-carrier.ts';
import { counting } from './raw-talk.ts';
import type { AskingTalk } from './talk.ts';

/** So that several files come over one login, which is no part of what is measured. */
const remoteScript = 'while read -r file; do cat "$file"; done';

/** `ssh host cat FILE` counted at this end; a file's name is its size. */
export async function askCat(options: AskingOptions): Promise<AskingTalk> {
  const { ssh, filesFolder } = options;
  if (ssh === undefined || filesFolder === undefined) throw new TypeError('cat wants a host and a folder');
  const carrier = await spawnRaw(
    ['ssh', ...sshArguments({ ...ssh, command: ['sh', '-c', remoteScript] })],
    // Whatever `talk` says, this is read as the RPC's transport reads what ssh prints.
    { ...options, talk: 'onread' },
  );
  return {
    async transfer(bytes) {
      const received = counting(carrier, bytes, () => undefined);
      carrier.writable.write(`${join(filesFolder, String(bytes))}\n`);
      await received;
    },
    request: () => Promise.reject(new Error('cat answers no requests')),
    // Neither sshd nor cat says what it used.
    usage: () => Promise.resolve({ cpuMicros: 0, residentKibMax: 0 }),
    close: () => carrier.close(),
  };
}
