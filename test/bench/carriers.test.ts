import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { loopback, type Address, type Credentials, type EndOptions } from '../../bench/ends/end-options.ts';
import { connectRaw, listenRaw } from '../../bench/ends/raw-carrier.ts';
import { askRaw } from '../../bench/ends/raw-talk.ts';
import { connectRPC, listenRPC } from '../../bench/ends/rpc-carrier.ts';
import { askRPC } from '../../bench/ends/rpc-talk.ts';
import { makeAuthority, opensslMissing } from '../support/certificates.ts';
import { describePlatform } from '../support/platform.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'snapferry-bench-'));
});
afterAll(() => rm(folder, { recursive: true }));

type Manner = Pick<EndOptions, 'carrier' | 'talk'> & Partial<EndOptions>;

/** Both ends within this process: transfers and requests that reject unless they are whole, and an orderly end. */
async function exercise(manner: Manner): Promise<void> {
  const options: EndOptions = {
    ...{ version: 2, digest: true, blockBytes: 65_536, profileFolder: null },
    ...{ socketPath: join(folder, `${manner.carrier}-${manner.talk}`), ...manner },
  };
  const isRPC = options.talk === 'rpc';
  let answered: Promise<void> = Promise.resolve();
  const address = await new Promise<Address>((resolve, reject) => {
    answered = (isRPC ? listenRPC : listenRaw)(options, resolve);
    answered.catch(reject);
  });
  const talk = isRPC
    ? await askRPC(await connectRPC(address, options), options, Promise.resolve())
    : await askRaw(await connectRaw(address, options, Promise.resolve()), options);
  for (const bytes of [1, 65_536, 3 * 1024 * 1024 + 17]) await talk.transfer(bytes);
  await talk.request();
  await talk.usage();
  await talk.close();
  await answered;
}

const talks = ['rpc', 'onread', 'pipeline'] as const;

describe('the ends', () => {
  test.each(talks)('%s over unix', (talk) => exercise({ carrier: 'unix', talk }));
  test.each(talks)('%s over tcp', (talk) => exercise({ carrier: 'tcp', talk }));
  test('rpc version 1 over unix', () => exercise({ carrier: 'unix', talk: 'rpc', version: 1, digest: false }));
  test('rpc from tool to tool', () => exercise({ carrier: 'unix', talk: 'rpc', tools: true }));
});

describePlatform('the ends over TLS', opensslMissing, () => {
  let credentials: Credentials;
  beforeAll(async () => {
    const authority = await makeAuthority();
    credentials = { ca: authority.cert, ...(await authority.issue('/CN=bench', `IP:${loopback}`)) };
    await authority.remove();
  });
  test.each(talks)('%s over tls', (talk) => exercise({ carrier: 'tls', talk, credentials }));
});
