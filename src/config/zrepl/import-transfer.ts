import { same } from './import-place.ts';
import type { ImportPlace } from './import-place.ts';

const ratePattern = /^(-?[\d.]+)\s*(bit|(|K|Ki|M|Mi|G|Gi|T|Ti)([bB]))$/;
const factors: Readonly<Record<string, number>> = {
  '': 1,
  K: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** A size as zrepl writes it, which may be in bits: in bytes, or what it is if it is none. */
function importSize(place: ImportPlace): unknown {
  const parts = ratePattern.exec(String(place.value).trim());
  if (parts === null) return same(place);
  const [written, number, unit, factor = '', letter] = parts;
  if (letter === 'B') return factor === 'K' ? `${number ?? ''} kB` : written;
  const bytes = Math.round((Number(number) * (factors[factor] ?? 1)) / 8);
  place.change(`${written} are bits (${unit ?? ''}); sizes are in bytes here: ${bytes} B`);
  return `${bytes} B`;
}

function importBandwidthLimit(place: ImportPlace): unknown {
  const max = place.child('max').value;
  if (max === undefined || /^\s*"?\s*-/.test(JSON.stringify(max))) return undefined;
  return place.convert({ max: importSize, bucket_capacity: importSize });
}

function ifSet(why: string) {
  return (place: ImportPlace): unknown => (place.value === true ? place.drop(why) : undefined);
}

/**
 * `send`; also for a job that has none, since what is not said means something else here.
 * @param job the job it is of
 */
export function importSend(place: ImportPlace, job: ImportPlace): unknown {
  const send = place.convert({
    encrypted: same,
    raw: same,
    send_properties: same,
    backup_properties: ifSet('backup_properties (zfs send -b) has no counterpart'),
    large_blocks: same,
    compressed: same,
    embedded_data: same,
    saved: ifSet('saved (zfs send -S) has no counterpart: an interrupted receive is resumed by its token'),
    bandwidth_limit: importBandwidthLimit,
  });
  if (send['raw'] === true) {
    if (send['encrypted'] === false) delete send['encrypted'];
    return send;
  }
  if (send['encrypted'] !== undefined) return send;
  job.change(
    'zrepl sends encrypted datasets in the clear unless told: "encrypted: false" keeps it so; without it they are sent raw here',
  );
  return { encrypted: false, ...send };
}

/** `recv`; null: nothing to be said. */
export function importRecv(place: ImportPlace): unknown {
  const recv = place.convert({
    properties: (properties) => properties.convert({ inherit: same, override: (override) => mapValues(override) }),
    bandwidth_limit: importBandwidthLimit,
    placeholder: (placeholder) => placeholder.convert({ encryption: same }),
  });
  return Object.keys(recv).length === 0 ? undefined : recv;
}

/** Values of properties are texts; YAML 1.1 takes `on` and `off` for true and false. */
function mapValues(place: ImportPlace): Record<string, unknown> {
  return Object.fromEntries(
    place.keys().map((name) => {
      const { value } = place.child(name);
      return [name, typeof value === 'boolean' ? (value ? 'on' : 'off') : value];
    }),
  );
}

/** `replication` */
export function importReplication(place: ImportPlace, jobType: string): unknown {
  if (jobType === 'pull' && place.child('protection').value !== undefined) {
    place
      .child('protection')
      .change(
        'what is done at the source is said in its own configuration: write the same under "replication" of the source job',
      );
  }
  return place.convert({
    protection: (protection) => protection.convert({ initial: same, incremental: same }),
    concurrency: (concurrency) => concurrency.convert({ steps: same, size_estimates: same }),
  });
}

/** `conflict_resolution` */
export function importConflictResolution(place: ImportPlace): unknown {
  return place.convert({ initial_replication: same });
}
