import { tokenOf } from './zfs-token.ts';
import type { FakeDataset, FakePool, FakeSnapshot, FakeVersion, Outcome } from './fake-zfs-pool.ts';

const done: Outcome = { status: 0 };
const notInherited = new Set(['canmount', 'type', 'encryption']);
const defaults: Record<string, string> = { canmount: 'on', readonly: 'off', mountpoint: '/somewhere' };
const usage = 'usage:\n\tthe usage text of zfs\n';

/** Options with and without a value, then names. */
export function parsed(args: readonly string[], withValue: string) {
  const options: { letter: string; value: string }[] = [];
  const names: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const arg = args[index]!;
    if (!arg.startsWith('-') || arg === '-') names.push(arg);
    else {
      for (const letter of arg.slice(1)) {
        options.push({ letter, value: withValue.includes(letter) ? args[++index]! : '' });
      }
    }
  }
  return {
    names,
    has: (letter: string) => options.some((option) => option.letter === letter),
    values: (letter: string) => options.filter((option) => option.letter === letter).map(({ value }) => value),
  };
}

/** The token of what a dataset has received in part, or `-`. */
export function tokenFor({ partial, isReceiving }: FakeDataset): string {
  if (partial === null) return '-';
  const { toGuid, fromGuid, toName, content, isRaw } = partial;
  const bytes = isReceiving ? 0n : BigInt(content.length);
  const flags = isRaw ? (['rawok', 'compressok', 'largeblockok'] as const) : [];
  return tokenOf({ toName, toGuid, ...(fromGuid === 0n ? {} : { fromGuid }), offset: bytes, bytes, flags });
}

/** Carries out everything but streams. */
export function runFakeCommand(pool: FakePool, [command, ...args]: readonly string[]): Outcome {
  const commands: Record<string, (pool: FakePool, args: readonly string[]) => Outcome> = {
    list,
    get,
    holds,
    hold,
    release,
    bookmark,
    destroy,
    create,
    set,
    inherit,
    snapshot: takeSnapshots,
  };
  return commands[command ?? '']?.(pool, args) ?? { status: 2, stderr: `unrecognized command '${command}'\n${usage}` };
}

type Target = { readonly dataset: FakeDataset; readonly suffix: string; readonly version?: FakeSnapshot | FakeVersion };

function find(pool: FakePool, name: string): Target | null {
  const at = name.search(/[@#]/);
  const dataset = pool.datasets.get(at === -1 ? name : name.slice(0, at));
  if (dataset === undefined) return null;
  if (at === -1) return { dataset, suffix: '' };
  const version = dataset.version(name.slice(at));
  return version === undefined ? null : { dataset, suffix: name.slice(at), version };
}

function missing(name: string): string {
  return name.includes('#')
    ? `cannot open '${name}': no such pool or dataset\n`
    : `cannot open '${name}': dataset does not exist\n`;
}

function targetsOf(pool: FakePool, name: string, types: readonly string[], depth: number): Target[] | null {
  const top = find(pool, name);
  if (top === null) return null;
  if (top.version !== undefined) return [top];
  const levels = (item: FakeDataset): number => item.name.split('/').length - name.split('/').length;
  const datasets = pool.below(name).filter((item) => levels(item) <= depth);
  return datasets.flatMap((dataset) => {
    const own = types.includes(dataset.type) ? [{ dataset, suffix: '' }] : [];
    if (levels(dataset) + 1 > depth) return own;
    const snapshots = types.includes('snapshot') ? dataset.snapshots : [];
    const bookmarks = types.includes('bookmark') ? dataset.bookmarks : [];
    return [
      ...own,
      ...snapshots.map((version) => ({ dataset, suffix: `@${version.name}`, version })),
      ...bookmarks.map((version) => ({ dataset, suffix: `#${version.name}`, version })),
    ];
  });
}

function valueOf(pool: FakePool, target: Target, property: string): { value: string; source: string } {
  const { dataset, suffix, version } = target;
  const facts: Record<string, string | undefined> = {
    name: dataset.name + suffix,
    type: suffix === '' ? dataset.type : suffix.startsWith('@') ? 'snapshot' : 'bookmark',
    guid: String(version?.guid ?? dataset.guid),
    createtxg: String(version?.createTXG ?? 9n),
    creation: String(version?.creation ?? 1),
    userrefs: version !== undefined && 'holds' in version ? String(version.holds.size) : '-',
    encryption: suffix.startsWith('#') ? '-' : dataset.isEncrypted ? 'aes-256-gcm' : 'off',
    receive_resume_token: suffix === '' ? tokenFor(dataset) : '-',
    inconsistent: dataset.partial !== null && dataset.snapshots.length === 0 ? '1' : '0',
    mounted: 'no',
    referenced: String(dataset.content.length),
    written: dataset.snapshots.length === 0 || dataset.isModified ? String(dataset.content.length + 1) : '0',
    keystatus: dataset.isEncrypted ? (dataset.isKeyLoaded ? 'available' : 'unavailable') : '-',
  };
  const fact = facts[property];
  if (fact !== undefined) return { value: fact, source: '-' };
  const local = dataset.properties.get(property);
  if (local !== undefined && suffix === '') return { value: local, source: 'local' };
  for (let above = pool.parentOf(dataset.name); above !== undefined; above = pool.parentOf(above.name)) {
    const inherited = notInherited.has(property) ? undefined : above.properties.get(property);
    if (inherited !== undefined) return { value: inherited, source: `inherited from ${above.name}` };
  }
  const value = defaults[property];
  return value === undefined ? { value: '-', source: '-' } : { value, source: 'default' };
}

function selection(args: readonly string[], types: string) {
  const options = parsed(args, 'otds');
  const wanted = (options.values('t')[0] ?? types).split(',');
  const depth = options.has('r') ? Infinity : Number(options.values('d')[0] ?? 0);
  return { ...options, wanted, depth };
}

function list(pool: FakePool, args: readonly string[]): Outcome {
  const { names, values, wanted, depth } = selection(args, 'filesystem,volume');
  let stdout = '';
  let stderr = '';
  for (const name of names) {
    const targets = targetsOf(pool, name, wanted, depth);
    if (targets === null) stderr += missing(name);
    for (const target of targets ?? []) {
      const columns = values('o')[0]!.split(',');
      stdout += `${columns.map((column) => valueOf(pool, target, column).value).join('\t')}\n`;
    }
  }
  return { status: stderr === '' ? 0 : 1, stdout, stderr };
}

function get(pool: FakePool, args: readonly string[]): Outcome {
  const { names, values, wanted, depth } = selection(args, 'filesystem,volume,snapshot,bookmark');
  const [properties = '', name = ''] = names;
  const targets = targetsOf(pool, name, wanted, depth);
  if (targets === null) return { status: 1, stderr: missing(name) };
  let stdout = '';
  for (const target of targets) {
    for (const property of properties.split(',')) {
      const row: Record<string, string> = { name: target.dataset.name + target.suffix, property };
      Object.assign(row, valueOf(pool, target, property));
      stdout += `${values('o')[0]!
        .split(',')
        .map((column) => row[column])
        .join('\t')}\n`;
    }
  }
  return { status: 0, stdout };
}

/** For each name what goes wrong with it, if anything: what is well is done all the same. */
function each(pool: FakePool, names: readonly string[], work: (target: Target, name: string) => string): Outcome {
  const stderr = names.map((name) => {
    const target = find(pool, name);
    return target === null ? '' : work(target, name);
  });
  return { status: stderr.join('') === '' ? 0 : 1, stderr: stderr.join('') };
}

function holdsOf(target: Target): Set<string> {
  return (target.version as FakeSnapshot).holds;
}

function hold(pool: FakePool, [tag = '', ...names]: readonly string[]): Outcome {
  if (Buffer.byteLength(tag) === 256) throw new Error('the pool hangs for good');
  if (Buffer.byteLength(tag) > 256) return { status: 1, stderr: `cannot hold snapshot '${names[0]}': tag too long\n` };
  if (tag.startsWith('.')) return { status: 2, stderr: `tag may not start with '.'\n${usage}` };
  const absent = names.filter((name) => find(pool, name) === null);
  const outcome = each(pool, names, (target, name) => {
    if (holdsOf(target).has(tag)) return `cannot hold snapshot '${name}': tag already exists on this dataset\n`;
    holdsOf(target).add(tag);
    return '';
  });
  const lines = absent.map((name) => `cannot hold snapshot '${name}': dataset does not exist\n`).join('');
  return lines === '' ? outcome : { status: 1, stderr: `${outcome.stderr}${lines}` };
}

function release(pool: FakePool, [tag = '', ...names]: readonly string[]): Outcome {
  const absent = names.filter((name) => find(pool, name) === null);
  const outcome = each(pool, names, (target, name) =>
    holdsOf(target).delete(tag) ? '' : `cannot release hold from snapshot '${name}': no such tag on this dataset\n`,
  );
  const lines = absent.map((name) => `cannot release hold from snapshot '${name}': dataset does not exist\n`).join('');
  return lines === '' ? outcome : { status: 1, stderr: `${outcome.stderr}${lines}` };
}

function holds(pool: FakePool, args: readonly string[]): Outcome {
  const { names } = parsed(args, '');
  const absent = names.filter((name) => find(pool, name) === null);
  const rows = names.flatMap((name) => {
    const target = find(pool, name);
    return target === null ? [] : [...holdsOf(target)].map((tag) => `${name}\t${tag}\tFri Nov 20 20:42 2026\n`);
  });
  const stderr = absent.map(missing).join('') + (absent.length === names.length ? 'no datasets available\n' : '');
  return { status: absent.length === 0 ? 0 : 1, stdout: rows.join(''), stderr: absent.length === 0 ? '' : stderr };
}

function bookmark(pool: FakePool, [from = '', name = '']: readonly string[]): Outcome {
  const source = find(pool, from);
  if (source?.version === undefined)
    return { status: 2, stderr: `cannot open '${from}': dataset does not exist\n${usage}` };
  if (find(pool, name) !== null) return { status: 1, stderr: `cannot create bookmark '${name}': bookmark exists\n` };
  pool.bookmark(source.dataset.name, source.version, name.slice(name.indexOf('#') + 1));
  return done;
}

function destroy(pool: FakePool, [name = '']: readonly string[]): Outcome {
  const target = find(pool, name);
  if (target === null) {
    const bare = name.includes('#') ? `bookmark '${name}' does not exist.\n` : null;
    return { status: 1, stderr: bare ?? `cannot open '${name}': dataset does not exist\n` };
  }
  const { dataset, suffix, version } = target;
  if (version !== undefined && 'holds' in version && version.holds.size > 0) {
    return { status: 1, stderr: `cannot destroy snapshot ${name}: dataset is busy\n` };
  }
  if (version !== undefined) pool.destroy(dataset.name, suffix);
  else if (pool.below(name).length > 1 || dataset.snapshots.length > 0) {
    return {
      status: 1,
      stderr: `cannot destroy '${name}': filesystem has children\nuse '-r' to destroy the following datasets:\n`,
    };
  } else pool.datasets.delete(name);
  return done;
}

function create(pool: FakePool, args: readonly string[]): Outcome {
  const { names, values } = parsed(args, 'o');
  const [name = ''] = names;
  if (pool.datasets.has(name)) return { status: 1, stderr: `cannot create '${name}': dataset already exists\n` };
  if (pool.parentOf(name) === undefined)
    return { status: 1, stderr: `cannot create '${name}': parent does not exist\n` };
  const made = pool.create(name);
  for (const setting of values('o')) {
    const [property = '', value = ''] = setting.split('=');
    if (property === 'encryption') made.isEncrypted = value !== 'off';
    else made.properties.set(property, value);
  }
  return done;
}

function set(pool: FakePool, [setting = '', name = '']: readonly string[]): Outcome {
  const target = find(pool, name);
  if (target === null) return { status: 1, stderr: missing(name) };
  const [property = '', value = ''] = setting.split('=');
  target.dataset.properties.set(property, value);
  return done;
}

function inherit(pool: FakePool, [property = '', name = '']: readonly string[]): Outcome {
  const target = find(pool, name);
  if (target === null) return { status: 1, stderr: missing(name) };
  target.dataset.properties.delete(property);
  return done;
}

function takeSnapshots(pool: FakePool, names: readonly string[]): Outcome {
  for (const name of names) {
    const [dataset = '', snapshot = ''] = name.split('@');
    if (find(pool, name) !== null)
      return { status: 1, stderr: `cannot create snapshot '${name}': dataset already exists\n` };
    if (!pool.datasets.has(dataset)) return { status: 2, stderr: `${missing(dataset)}${usage}` };
    pool.snapshot(dataset, snapshot);
  }
  return done;
}
