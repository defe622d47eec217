import { checkTimestampFormat } from '../timestamp-format.ts';
import { same } from './import-place.ts';
import type { ImportPlace } from './import-place.ts';

/** `snapshotting` */
export function importSnapshotting(place: ImportPlace): unknown {
  const type = place.child('type').value;
  if (type === 'manual') return place.convert({ type: same });
  const location = place.child('timestamp_location').text() ?? 'UTC';
  return place.convert({
    type: same,
    ...(type === 'cron' ? { cron: same } : { interval: same }),
    prefix: same,
    timestamp_format: (format) => importFormat(format, location),
    timestamp_location: same,
    hooks: importHooks,
  });
}

function importFormat(place: ImportPlace, location: string): unknown {
  const format = place.text();
  if (format === undefined) return same(place);
  try {
    checkTimestampFormat({ format, location });
  } catch (error) {
    const instead = location === 'UTC' ? 'dense' : 'iso-8601';
    place.drop(`${(error as Error).message}; "${instead}" is used`);
    return instead;
  }
  return format;
}

const otherHooks: Readonly<Record<string, string>> = {
  'postgres-checkpoint':
    'databases are not spoken to; a hook of type command can run psql -c CHECKPOINT (a snapshot is consistent without it)',
  'mysql-lock-tables':
    'databases are not spoken to, so tables are NOT locked any more; a hook of type command can hold FLUSH TABLES WITH READ LOCK',
};

function importHooks(place: ImportPlace): unknown {
  const hooks = place.items().flatMap((hook) => {
    const type = String(hook.child('type').value);
    if (Object.hasOwn(otherHooks, type)) {
      hook.drop(`hook of type ${type}: ${otherHooks[type] ?? ''}`);
      return [];
    }
    return [hook.convert({ type: same, path: same, timeout: same, err_is_fatal: same, filesystems: same })];
  });
  if (hooks.length > 0) {
    place.change(
      'hooks are told what they are run for in SNAPFERRY_HOOKTYPE, SNAPFERRY_FS, SNAPFERRY_SNAPNAME and SNAPFERRY_DRYRUN',
    );
  }
  return hooks.length === 0 ? undefined : hooks;
}
