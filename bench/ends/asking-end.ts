import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { connectCommand } from '../../src/transport/command.ts';
import { askCat } from './cat-talk.ts';
import {
  profileArguments,
  usageNow,
  type Address,
  type AskingOptions,
  type EndsMeasurement,
  type Usage,
} from './end-options.ts';
import { loadPeer } from './peers/peer.ts';
import { connectRaw, exited, spawnRaw } from './raw-carrier.ts';
import { askRaw } from './raw-talk.ts';
import { connectRPC, spawnRPCBySSH } from './rpc-carrier.ts';
import { askRPC } from './rpc-talk.ts';
import type { AskingTalk } from './talk.ts';

/** The program at the asking end: starts the answering one, warms up, measures, and prints what it measured as JSON. */
async function main(options: AskingOptions): Promise<void> {
  const talk = await open(options);
  const warmUpSeconds = await run(talk, options, options.warmUpUnits);
  const { slowdown } = options;
  const unitsPerSecondMax = slowdown === undefined ? undefined : options.warmUpUnits / warmUpSeconds / slowdown;
  const answeringBefore = await talk.usage();
  const askingBefore = usageNow();
  const seconds = await run(talk, options, options.units, unitsPerSecondMax);
  const asking = difference(askingBefore, usageNow());
  const answering = difference(answeringBefore, await talk.usage());
  await talk.close();
  const measurement: EndsMeasurement = { seconds, asking, answering };
  process.stdout.write(`${JSON.stringify(measurement)}\n`);
}

async function run(
  talk: AskingTalk,
  { measure }: AskingOptions,
  units: number,
  unitsPerSecondMax?: number,
): Promise<number> {
  const begun = performance.now();
  if (measure === 'transfer') await talk.transfer(units, unitsPerSecondMax);
  else for (let left = units; left > 0; left--) await talk.request();
  return (performance.now() - begun) / 1000;
}

async function open(options: AskingOptions): Promise<AskingTalk> {
  const { carrier, talk } = options;
  if (talk === 'cat') return askCat(options);
  const program = fileURLToPath(new URL('./answering-end.js', import.meta.url));
  const profile = profileArguments(options.profileFolder, 'answering');
  const argv = [process.execPath, ...profile, program, JSON.stringify(options)] as const;
  if (carrier === 'stdio') return openStdio(argv, options);
  if (carrier === 'ssh') return askRPC(await spawnRPCBySSH(argv, options), options, Promise.resolve());
  const [node, ...args] = argv;
  const child = spawn(node, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const gone = exited(child);
  const said = await Promise.race([once(child.stdout, 'data') as Promise<[Buffer]>, gone]);
  if (said === undefined) throw new Error('the answering end ended before it listened');
  const address = JSON.parse(said[0].toString()) as Address;
  if (talk === 'rpc') return askRPC(await connectRPC(address, options), options, gone);
  if (talk === 'onread' || talk === 'pipeline') return askRaw(await connectRaw(address, options, gone), options);
  const peer = await loadPeer(talk);
  return closingWith(await peer.ask(options.socketPath), gone);
}

async function openStdio(argv: readonly [string, ...string[]], options: AskingOptions): Promise<AskingTalk> {
  if (options.talk === 'rpc') return askRPC(await connectCommand({ argv }), options, Promise.resolve());
  if (options.talk !== 'jsonrpc') return askRaw(await spawnRaw(argv, options), options);
  const { askJSONRPC } = await import('./peers/jsonrpc.ts');
  const [node, ...args] = argv;
  const child = spawn(node, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  return closingWith(askJSONRPC(child.stdout, child.stdin), exited(child));
}

function closingWith(talk: AskingTalk, gone: Promise<void>): AskingTalk {
  const close = async (): Promise<void> => {
    await talk.close();
    await gone;
  };
  return { ...talk, close };
}

function difference(before: Usage, after: Usage): Usage {
  return { cpuMicros: after.cpuMicros - before.cpuMicros, residentKibMax: after.residentKibMax };
}

await main(JSON.parse(process.argv[2] ?? '') as AskingOptions);
