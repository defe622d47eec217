import { importConnect, importServe } from './import-connection.ts';
import type { ImportFolder } from './import-connection.ts';
import { same } from './import-place.ts';
import type { Conversions, ImportPlace } from './import-place.ts';
import { belongsElsewhere, importRules, pruningOf } from './import-pruning.ts';
import type { ImportedRules } from './import-pruning.ts';
import { importSnapshotting } from './import-snapshotting.ts';
import { importConflictResolution, importRecv, importReplication, importSend } from './import-transfer.ts';

/** A job as we write it, and what of it concerns another one. */
export interface ImportedJob {
  readonly place: ImportPlace;
  readonly type: string;
  readonly job: Record<string, unknown>;
  /** Rules for the other side, which may be a job of the same configuration. */
  readonly elsewhere: { readonly place: ImportPlace; readonly rules: ImportedRules } | null;
}

/** Turns a job of zrepl into ours; null for one of a type that zrepl does not have. */
export function importJob(place: ImportPlace, folder: ImportFolder): ImportedJob | null {
  const type = String(place.child('type').value);
  let elsewhere: ImportedJob['elsewhere'] = null;
  const keepElsewhere = (pruning: ImportPlace, key: string, side: 'sender' | 'receiver'): undefined => {
    const rules = pruning.child(key);
    if (rules.value !== undefined) elsewhere = { place: rules, rules: importRules(rules, side) };
  };
  const core = { type: same, name: importName };
  const connected = {
    connect: (connect: ImportPlace) => importConnect(connect, folder),
    replication: (replication: ImportPlace) => importReplication(replication, type),
    conflict_resolution: importConflictResolution,
  };
  const served = { serve: (serve: ImportPlace) => importServe(serve, folder) };
  const ofSender = { filesystems: same, snapshotting: importSnapshotting };
  const kinds: Readonly<Record<string, Conversions>> = {
    push: {
      ...core,
      ...connected,
      ...ofSender,
      send: (send) => importSend(send, place),
      pruning: (pruning) => {
        keepElsewhere(pruning, 'keep_receiver', 'receiver');
        dropOthers(pruning, ['keep_sender', 'keep_receiver']);
        return pruningOf(importRules(pruning.child('keep_sender'), 'sender'), 'keep_sender');
      },
    },
    pull: {
      ...core,
      ...connected,
      root_fs: same,
      interval: same,
      recv: importRecv,
      pruning: (pruning) => {
        keepElsewhere(pruning, 'keep_sender', 'sender');
        dropOthers(pruning, ['keep_sender', 'keep_receiver']);
        return pruningOf(importRules(pruning.child('keep_receiver'), 'receiver'), 'keep_receiver');
      },
    },
    source: { ...core, ...served, ...ofSender, send: (send: ImportPlace) => importSend(send, place) },
    sink: { ...core, ...served, root_fs: same, recv: importRecv },
    snap: {
      ...core,
      ...ofSender,
      pruning: (pruning) => {
        dropOthers(pruning, ['keep']);
        return pruningOf(importRules(pruning.child('keep'), 'sender'), 'keep');
      },
    },
  };
  if (!Object.hasOwn(kinds, type)) return null;
  const job = place.convert(kinds[type] ?? {});
  if ((type === 'push' || type === 'source') && job['send'] === undefined)
    job['send'] = importSend(place.child('send'), place);
  // zrepl has no other way to run it, and here saying nothing might be a slip.
  if (type === 'push' && place.child('snapshotting').child('type').value === 'manual') job['interval'] = 'manual';
  return { place, type, job, elsewhere };
}

function dropOthers(pruning: ImportPlace, known: readonly string[]): void {
  for (const key of pruning.keys().filter((name) => !known.includes(name))) {
    pruning.child(key).drop(`"${key}" is no key of zrepl 0.7 here`);
  }
}

function importName(place: ImportPlace): unknown {
  const name = place.text();
  if (name === undefined) return same(place);
  const ours = name.replaceAll(/[^A-Za-z0-9_.:-]/g, '-').slice(0, 100);
  if (ours !== name) place.change(`the name "${name}" becomes "${ours}": letters, digits, "_", ".", ":" and "-"`);
  return ours;
}

/**
 * Hands rules for the other side to the job there, if it is in the same configuration and all who connect to it say the same;
 * else says where they belong.
 */
export function placeRules(jobs: readonly ImportedJob[]): void {
  for (const passive of jobs) {
    if (passive.type !== 'sink' && passive.type !== 'source') continue;
    const serve = passive.job['serve'] as Record<string, unknown> | undefined;
    const active = jobs.filter(({ job }) => {
      const connect = job['connect'] as Record<string, unknown> | undefined;
      return (
        serve?.['type'] === 'local' &&
        connect?.['type'] === 'local' &&
        connect['listener_name'] === serve['listener_name']
      );
    });
    if (active.length === 0) adviseRules(passive);
    else takeRules(passive, active);
  }
  for (const { job, elsewhere, type } of jobs) {
    const connect = job['connect'] as Record<string, unknown> | undefined;
    if (elsewhere === null || connect?.['type'] === 'local') continue;
    belongsElsewhere(elsewhere.place, elsewhere.rules, type === 'push' ? 'sink' : 'source');
  }
}

function adviseRules({ type, place }: ImportedJob): void {
  const there = type === 'sink' ? 'the push jobs (keep_receiver)' : 'the pull job (keep_sender)';
  place.change(
    `each side removes its own snapshots: write the rules that ${there} had for this machine under "pruning: { keep: … }" here`,
  );
}

function takeRules(passive: ImportedJob, active: readonly ImportedJob[]): void {
  const [first, ...rest] = active.map(({ elsewhere }) => JSON.stringify(elsewhere?.rules ?? []));
  const rules = active[0]?.elsewhere?.rules ?? [];
  if (rest.some((other) => other !== first)) {
    for (const { elsewhere } of active) {
      elsewhere?.place.drop(
        `the ${passive.type} "${String(passive.job['name'])}" removes its own snapshots, by one set of rules for all who connect, ` +
          'and these differ: give it "pruning: { keep: … }" yourself',
      );
    }
    return;
  }
  const pruning = pruningOf(rules, 'keep');
  if (pruning !== undefined) passive.job['pruning'] = pruning;
  for (const { elsewhere } of active) {
    elsewhere?.place.change(
      `moved to "pruning" of the ${passive.type} "${String(passive.job['name'])}", which removes its own snapshots`,
    );
  }
  const sendsProperties = active.some(
    ({ job }) => (job['send'] as Record<string, unknown> | undefined)?.['send_properties'] === true,
  );
  if (!sendsProperties || passive.type !== 'sink') return;
  const recv = (passive.job['recv'] ?? {}) as Record<string, unknown>;
  passive.job['recv'] = { ...recv, properties: { ...(recv['properties'] as object | undefined), from_sender: true } };
}
