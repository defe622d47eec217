import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { connectCommand } from '../../src/transport/command.ts';
import { connectTCP } from '../../src/transport/tcp.ts';
import { connectUnix } from '../../src/transport/unix.ts';
import {
  loopback,
  profileArguments,
  usageNow,
  type Address,
  type AskingOptions,
  type EndsMeasurement,
  type Usage,
} from './end-options.ts';
import { connectRaw, exited, spawnRaw } from './raw-carrier.ts';
import { askRaw } from './raw-talk.ts';
import { askRPC } from './rpc-talk.ts';
import type { AskingTalk } from './talk.ts';

/** The program at the asking end: starts the answering one, warms up, measures, and prints what it measured as JSON. */
async function main(options: AskingOptions): Promise<void> {
  const talk = await open(options);
  await run(talk, options, options.warmUpUnits);
  const answeringBefore = await talk.usage();
  const askingBefore = usageNow();
  const begun = performance.now();
  await run(talk, options, options.units);
  const seconds = (performance.now() - begun) / 1000;
  const asking = difference(askingBefore, usageNow());
  const answering = difference(answeringBefore, await talk.usage());
  await talk.close();
  const measurement: EndsMeasurement = { seconds, asking, answering };
  process.stdout.write(`${JSON.stringify(measurement)}\n`);
}

async function run(talk: AskingTalk, { measure }: AskingOptions, units: number): Promise<void> {
  if (measure === 'transfer') {
    await talk.transfer(units);
    return;
  }
  for (let left = units; left > 0; left--) await talk.request();
}

async function open(options: AskingOptions): Promise<AskingTalk> {
  const program = fileURLToPath(new URL('./answering-end.js', import.meta.url));
  const profile = profileArguments(options.profileFolder, 'answering');
  const argv = [process.execPath, ...profile, program, JSON.stringify(options)] as const;
  if (options.carrier === 'stdio') {
    if (options.talk !== 'rpc') return askRaw(await spawnRaw(argv, options), options);
    return askRPC(await connectCommand({ argv }), options, Promise.resolve());
  }
  const [node, ...args] = argv;
  const child = spawn(node, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const gone = exited(child);
  const ready = once(child.stdout, 'data') as Promise<[Buffer]>;
  const said = await Promise.race([ready, gone]);
  if (said === undefined) throw new Error('the answering end ended before it listened');
  const address: Address =
    options.carrier === 'tcp' ? { host: loopback, port: Number(said[0].toString()) } : { path: options.socketPath };
  if (options.talk !== 'rpc') return askRaw(await connectRaw(address, options, gone), options);
  const stream = 'path' in address ? connectUnix(address.path) : connectTCP(address);
  return askRPC(await stream, options, gone);
}

function difference(before: Usage, after: Usage): Usage {
  return { cpuMicros: after.cpuMicros - before.cpuMicros, residentKibMax: after.residentKibMax };
}

await main(JSON.parse(process.argv[2] ?? '') as AskingOptions);
