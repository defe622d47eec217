import { createHash } from 'node:crypto';
import { decodeResumeToken } from '../../src/handlers/zfs/resume-token.ts';
import { parsed, tokenFor } from './fake-zfs-commands.ts';
import type { FakeDataset, FakePool, FakeSnapshot, Outcome } from './fake-zfs-pool.ts';

const recordBytes = 312;
const blockBytes = 16 * 1024;
const magic = 0x2f5bacbacn;
const featureResuming = 1n << 20n;
const featureRaw = 1n << 24n;

/** A stream to be sent, or why not; a dry run is an outcome. */
export function openFakeSend(pool: FakePool, args: readonly string[]): Outcome | { readonly stream: Buffer } {
  const options = parsed(args, 'it');
  const [token] = options.values('t');
  const plan = token === undefined ? planWhole(pool, options) : planRest(pool, token);
  if ('status' in plan) return plan;
  const { dataset, from, to, offset, isRaw } = plan;
  if (options.has('n')) {
    const bytes = to.content.length - offset + 624;
    const ends =
      from === null ? `full\t${dataset.name}@${to.name}` : `incremental\t${from.name}\t${dataset.name}@${to.name}`;
    return { status: 0, stdout: `${plan.preface}${ends}\t${bytes}\nsize\t${bytes}\n` };
  }
  return { stream: streamOf({ ...plan, fromGuid: from?.guid ?? 0n, isRaw }) };
}

interface SendPlan {
  readonly dataset: FakeDataset;
  readonly from: { readonly name: string; readonly guid: bigint } | null;
  readonly to: FakeSnapshot;
  readonly offset: number;
  readonly isRaw: boolean;
  readonly isResuming: boolean;
  readonly preface: string;
}

function planWhole(pool: FakePool, options: ReturnType<typeof parsed>): SendPlan | Outcome {
  const [name = ''] = options.names;
  const [datasetName = '', snapshot = ''] = name.split('@');
  const dataset = pool.datasets.get(datasetName);
  const to = dataset?.snapshots.find((item) => item.name === snapshot);
  if (dataset === undefined || to === undefined)
    return { status: 1, stderr: `cannot open '${name}': dataset does not exist\n` };
  const warning = (text: string): Outcome => ({ status: 1, stderr: `warning: cannot send '${name}': ${text}\n` });
  let from: SendPlan['from'] = null;
  const [fromName] = options.values('i');
  if (fromName !== undefined) {
    const base = dataset.version(fromName.slice(datasetName.length));
    if (base === undefined && fromName.includes('#')) {
      return warning(options.has('n') ? 'No such process' : `incremental source (${fromName}) does not exist`);
    }
    if (base === undefined) return { status: 1, stderr: `cannot open '${fromName}': dataset does not exist\n` };
    if (base.createTXG >= to.createTXG) return warning('not an earlier snapshot from the same fs');
    from = { name: fromName, guid: base.guid };
  }
  const isRaw = dataset.isEncrypted && options.has('w');
  // A dry run does not notice.
  const isLocked = dataset.isEncrypted && !isRaw && !dataset.isKeyLoaded;
  if (isLocked && !options.has('n')) return warning('dataset key must be loaded');
  return { dataset, from, to, offset: 0, isRaw, isResuming: false, preface: '' };
}

function planRest(pool: FakePool, text: string): SendPlan | Outcome {
  const cannot = (why: string): Outcome => ({ status: 255, stderr: `cannot resume send: ${why}\n` });
  let token;
  try {
    token = decodeResumeToken(text);
  } catch {
    return cannot('resume token is corrupt (incorrect checksum)');
  }
  const name = `${token.dataset}@${token.snapshot}`;
  const order = [...pool.datasets.values()].sort((a) => (a.name === token.dataset ? -1 : 1));
  const dataset = order.find((item) => item.snapshots.some(({ guid }) => guid === token.toGuid));
  const to = dataset?.snapshots.find(({ guid }) => guid === token.toGuid);
  if (dataset === undefined || to === undefined) {
    const isAnew = pool.datasets.get(token.dataset)?.version(`@${token.snapshot}`) !== undefined;
    return cannot(
      `'${name}' ${isAnew ? 'is no longer the same snapshot used in the initial send' : 'used in the initial send no longer exists'}`,
    );
  }
  const base = [...dataset.snapshots, ...dataset.bookmarks].find(({ guid }) => guid === token.fromGuid);
  if (token.fromGuid !== null && base === undefined)
    return cannot(`incremental source ${token.fromGuid} no longer exists`);
  const from = base === undefined ? null : { name: `${dataset.name}@${base.name}`, guid: base.guid };
  const preface = `resume token contents:\nnvlist version: 0\n\ttoguid = 0x${token.toGuid.toString(16)}\n`;
  const isRaw = dataset.isEncrypted && token.isRaw;
  return { dataset, from, to, offset: Number(token.bytes), isRaw, isResuming: true, preface };
}

function record(type: number): Buffer {
  const bytes = Buffer.alloc(recordBytes);
  bytes.writeUInt32LE(type, 0);
  return bytes;
}

function streamOf(request: SendPlan & { readonly fromGuid: bigint }): Buffer {
  const { dataset, to, fromGuid, offset, isRaw, isResuming } = request;
  const begin = record(0);
  begin.writeBigUInt64LE(magic, 8);
  const features = (isRaw ? featureRaw : 0n) | (isResuming ? featureResuming : 0n);
  begin.writeBigUInt64LE((features << 2n) | 1n, 16);
  begin.writeBigUInt64LE(BigInt(to.creation), 24);
  begin.writeUInt32LE(dataset.type === 'volume' ? 3 : 2, 32);
  begin.writeBigUInt64LE(to.guid, 40);
  begin.writeBigUInt64LE(fromGuid, 48);
  begin.write(`${dataset.name}@${to.name}`, 56);
  const parts = [begin];
  for (let position = offset; position < to.content.length; position += blockBytes) {
    const block = to.content.subarray(position, position + blockBytes);
    const head = record(3);
    head.writeUInt32LE(block.length, 8);
    head.writeBigUInt64LE(BigInt(position), 16);
    parts.push(head, block);
  }
  const end = record(5);
  createHash('sha256').update(Buffer.concat(parts)).digest().copy(end, 8);
  return Buffer.concat([...parts, end]);
}

interface Begin {
  readonly isRaw: boolean;
  readonly isResuming: boolean;
  readonly toGuid: bigint;
  readonly fromGuid: bigint;
  readonly toName: string;
  readonly creation: number;
  readonly isVolume: boolean;
}

/** A `zfs recv` under way. Fed with pieces until it has an outcome, or the input ends. */
export class FakeReceive {
  readonly #pool: FakePool;
  readonly #target: string;
  readonly #name: string;
  readonly #isForced: boolean;
  readonly #isResumable: boolean;
  readonly #settings: readonly (readonly [string, string])[];
  readonly #hash = createHash('sha256');
  #rest = Buffer.alloc(0);
  #begin: Begin | null = null;
  #dataset: FakeDataset | null = null;
  #isNew = false;
  #outcome: Outcome | null = null;

  constructor(pool: FakePool, args: readonly string[]) {
    const options = parsed(args, 'ox');
    this.#pool = pool;
    const [full = ''] = options.names;
    [this.#target = '', this.#name = ''] = full.split('@');
    this.#isForced = options.has('F');
    this.#isResumable = options.has('s');
    this.#settings = options.values('o').map((text) => [text.split('=')[0] ?? '', text.split('=')[1] ?? ''] as const);
  }

  /** `recv -A` */
  static abort(pool: FakePool, args: readonly string[]): Outcome {
    const name = args.at(-1) ?? '';
    const dataset = pool.datasets.get(name);
    if (dataset === undefined) return { status: 2, stderr: `cannot open '${name}': dataset does not exist\nusage:\n` };
    if (dataset.isReceiving) return { status: 1, stderr: `cannot destroy '${name}/%recv': dataset is busy\n` };
    if (dataset.partial === null) {
      return { status: 1, stderr: `'${name}' does not have any resumable receive state to abort\n` };
    }
    dataset.partial = null;
    if (dataset.snapshots.length === 0) pool.datasets.delete(name);
    return { status: 0 };
  }

  /** What it came to, once it is over. */
  get outcome(): Outcome | null {
    return this.#outcome;
  }

  feed(piece: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, piece]);
    while (this.#outcome === null && this.#rest.length >= recordBytes) {
      const type = this.#rest.readUInt32LE(0);
      const bytes = recordBytes + (type === 3 ? this.#rest.readUInt32LE(8) : 0);
      if (this.#rest.length < bytes) return;
      const whole = this.#rest.subarray(0, bytes);
      this.#rest = this.#rest.subarray(bytes);
      this.#outcome = this.#begin === null ? this.#start(whole) : this.#take(type, whole);
    }
  }

  /** The input is over. */
  end(): Outcome {
    this.#outcome ??=
      this.#begin === null
        ? { status: 1, stderr: 'cannot receive: failed to read from stream\n' }
        : this.#interrupt('checksum mismatch or incomplete stream.');
    return this.#outcome;
  }

  #kind(): string {
    if (this.#begin?.isResuming === true) return 'resume';
    return this.#begin?.fromGuid === 0n ? 'new filesystem' : 'incremental';
  }

  #refuse(text: string): Outcome {
    return { status: 1, stderr: `cannot receive ${this.#kind()} stream: ${text}\n` };
  }

  #start(record: Buffer): Outcome | null {
    if (record.readBigUInt64LE(8) !== magic)
      return { status: 1, stderr: 'cannot receive: invalid stream (bad magic number)\n' };
    this.#hash.update(record);
    const features = record.readBigUInt64LE(16) >> 2n;
    const begin: Begin = {
      isRaw: (features & featureRaw) !== 0n,
      isResuming: (features & featureResuming) !== 0n,
      creation: Number(record.readBigUInt64LE(24)),
      isVolume: record.readUInt32LE(32) === 3,
      toGuid: record.readBigUInt64LE(40),
      fromGuid: record.readBigUInt64LE(48),
      toName: record.toString('latin1', 56, record.indexOf(0, 56)),
    };
    this.#begin = begin;
    const there = this.#pool.datasets.get(this.#target);
    const refusal = begin.isResuming
      ? this.#refuseRest(there, begin)
      : begin.fromGuid === 0n
        ? this.#refuseNew(there)
        : this.#refuseIncrement(there, begin);
    if (refusal !== null) return refusal;
    this.#isNew = there === undefined;
    const dataset = there ?? this.#pool.create(this.#target, begin.isVolume ? 'volume' : 'filesystem');
    if (begin.isRaw) dataset.isEncrypted = true;
    for (const [property, value] of this.#settings) dataset.properties.set(property, value);
    const { toGuid, fromGuid, toName, creation, isRaw } = begin;
    if (!begin.isResuming) dataset.partial = { toGuid, fromGuid, toName, creation, isRaw, content: Buffer.alloc(0) };
    dataset.isReceiving = true;
    this.#dataset = dataset;
    return null;
  }

  #refuseRest(there: FakeDataset | undefined, { toGuid }: Begin): Outcome | null {
    if (there === undefined) return this.#refuse(`destination '${this.#target}' does not exist`);
    if (there.isReceiving) return this.#refusePartial();
    if (there.partial?.toGuid === toGuid) return null;
    return this.#refuse('kernel modules must be upgraded to receive this stream.');
  }

  #refusePartial(): Outcome {
    return this.#refuse(`destination ${this.#target} contains partially-complete state from "zfs receive -s".`);
  }

  #refuseNew(there: FakeDataset | undefined): Outcome | null {
    if (there === undefined) {
      const parent = this.#target.slice(0, this.#target.lastIndexOf('/'));
      if (this.#pool.datasets.has(parent)) return null;
      const stderr = `cannot open '${parent}': dataset does not exist\ncannot receive new filesystem stream: unable to restore to destination\n`;
      return { status: 1, stderr };
    }
    if (!this.#isForced) return this.#refuse(`destination '${this.#target}' exists\nmust specify -F to overwrite it`);
    if (there.partial !== null) return this.#refusePartial();
    const [first] = there.snapshots;
    if (first === undefined) return null;
    return this.#refuse(
      `destination has snapshots (eg. ${this.#target}@${first.name})\nmust destroy them to overwrite it`,
    );
  }

  #refuseIncrement(there: FakeDataset | undefined, { fromGuid, toGuid }: Begin): Outcome | null {
    if (there === undefined) return this.#refuse(`destination '${this.#target}' does not exist`);
    if (there.snapshots.some(({ guid, name }) => guid === toGuid && name === this.#name)) return { status: 0 };
    if (there.partial !== null) return this.#refusePartial();
    const newest = there.snapshots.at(-1);
    if (newest?.guid !== fromGuid) {
      return this.#refuse(`most recent snapshot of ${this.#target} does not\nmatch incremental source`);
    }
    if (there.isModified)
      return this.#refuse(`destination ${this.#target} has been modified\nsince most recent snapshot`);
    return null;
  }

  #take(type: number, record: Buffer): Outcome | null {
    const partial = this.#dataset!.partial!;
    if (type === 3) {
      const position = Number(record.readBigUInt64LE(16));
      if (position !== partial.content.length)
        return this.#fail('kernel modules must be upgraded to receive this stream.');
      partial.content = Buffer.concat([partial.content, record.subarray(recordBytes)]);
      this.#hash.update(record);
      return null;
    }
    const isGood = type === 5 && record.subarray(8, 40).equals(this.#hash.digest());
    if (!isGood) return this.#interrupt('checksum mismatch or incomplete stream.');
    if (this.#pool.unreceivable.has(partial.toGuid)) return this.#interrupt('out of space');
    return this.#commit();
  }

  #commit(): Outcome {
    const dataset = this.#dataset!;
    const { content, toGuid, creation, toName } = dataset.partial!;
    dataset.partial = null;
    dataset.isReceiving = false;
    dataset.content = content;
    dataset.isModified = false;
    const name = this.#name === '' ? toName.slice(toName.indexOf('@') + 1) : this.#name;
    const createTXG = this.#pool.nextTXG();
    dataset.snapshots.push({ name, guid: toGuid, createTXG, creation, content, holds: new Set() });
    return { status: 0 };
  }

  /** Refused after it had begun; what was there before stays as it was. */
  #fail(text: string): Outcome {
    this.#dataset!.isReceiving = false;
    return this.#refuse(text);
  }

  #interrupt(text: string): Outcome {
    const dataset = this.#dataset!;
    dataset.isReceiving = false;
    if (this.#isResumable) {
      const saved =
        'Partially received snapshot is saved.\nA resuming stream can be generated on the sending system by running:\n';
      return this.#refuse(`${text}\n${saved}    zfs send -t ${tokenFor(dataset)}`);
    }
    dataset.partial = null;
    if (this.#isNew) this.#pool.datasets.delete(this.#target);
    return this.#refuse('incomplete stream');
  }
}
