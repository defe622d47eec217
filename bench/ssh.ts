import { randomFillSync } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { sshdMissing, startSshd, type Sshd } from '../test/support/sshd.ts';
import type { EndOptions } from './ends/end-options.ts';
import { faster, gibibyte, kibibyte, measureTransfer, mebibyte } from './measure-transfer.ts';
import type { Contest, Question, Settings } from './question.ts';

const rpc = 'version 2, no digest';
const rpcDigest = 'version 2, xxh64';
const cat = 'ssh host cat FILE';

/** The default one, and one that processors do by themselves: the cheaper the cipher, the more we are seen. */
const ciphers = ['chacha20-poly1305@openssh.com', 'aes128-gcm@openssh.com'];

/** As cat reads. */
const blockBytes = 128 * kibibyte;

/** A file through a real sshd on the loopback. */
export const ssh: Question = {
  name: 'ssh',
  missing: sshdMissing,
  async ask(settings) {
    const units = settings.quick ? 16 * mebibyte : gibibyte;
    const filesFolder = join(settings.workFolder, 'files');
    await mkdir(filesFolder);
    // The warming up reads the smaller one.
    for (const bytes of [units / 8, units]) await writeFileOfSize(filesFolder, bytes);
    const sshd = await startSshd();
    const chosen = settings.quick ? ciphers.slice(0, 1) : ciphers;
    return {
      contests: chosen.map((cipher) => contest(settings, sshd, cipher, filesFolder, units)),
      release: () => sshd.stop(),
    };
  },
};

function contest(settings: Settings, sshd: Sshd, cipher: string, filesFolder: string, units: number): Contest {
  const subject = `a file over real ssh on the loopback, ${cipher}`;
  const { host, port, user, identityFile, configFile, options } = sshd;
  const destination = { host, port, user, identityFile, configFile, options: { ...options, Ciphers: cipher } };
  const run = (name: string, talk: EndOptions['talk'], digest: boolean) => async () => {
    const manner = {
      carrier: 'ssh',
      talk,
      version: 2,
      digest,
      blockBytes,
      filesFolder,
      ssh: destination,
      units,
    } as const;
    const sample = await measureTransfer(settings, `${subject} ${name}`, manner);
    return { 'MB/s': sample['MB/s']! };
  };
  return {
    subject,
    extent: `${units / mebibyte} MiB`,
    figures: [{ name: 'MB/s', better: 'more', digits: 0 }],
    // Most of it is spent by ssh and sshd, which are not ours to ask.
    costFigure: null,
    notes: ['the same sink; logging in is no part of it; the file is in the page cache'],
    contenders: [
      { name: rpc, run: run(rpc, 'rpc', false) },
      { name: rpcDigest, run: run(rpcDigest, 'rpc', true) },
      { name: cat, run: run(cat, 'cat', false) },
    ],
    comparisons: [faster(rpc, cat, 0.95), faster(rpcDigest, cat, 0.95)],
    // sshd works for the contenders and is not waited for.
    discardNoisyRounds: false,
  };
}

async function writeFileOfSize(folder: string, bytes: number): Promise<void> {
  const block = randomFillSync(Buffer.allocUnsafe(mebibyte));
  await using file = await open(join(folder, String(bytes)), 'wx');
  for (let written = 0; written < bytes; written += mebibyte) {
    await file.writeFile(block.subarray(0, Math.min(mebibyte, bytes - written)));
  }
}
