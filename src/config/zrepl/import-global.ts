import { same, silently } from './import-place.ts';
import type { ImportPlace } from './import-place.ts';

/** `global` */
export function importGlobal(place: ImportPlace): Record<string, unknown> {
  return place.convert({
    logging: importLogging,
    monitoring: (monitoring) => {
      const endpoints = monitoring
        .items()
        .map((endpoint) => endpoint.convert({ type: same, listen: same, listen_freebind: importFreebind }));
      return endpoints.length === 0 ? undefined : endpoints;
    },
    control: importOurs('control', 'sockpath'),
    serve: (serve) =>
      serve.child('stdinserver').isMapping()
        ? importOurs('stdinserver', 'sockdir')(serve.child('stdinserver'))
        : undefined,
  });
}

function importFreebind(place: ImportPlace): unknown {
  return place.value === true
    ? place.drop('listen_freebind has no counterpart; let systemd open the socket and write "listen: systemd:NAME"')
    : undefined;
}

/** Sockets stay where they are by default: with those of zrepl the two programs would be in each other's way. */
function importOurs(what: string, key: string) {
  return (place: ImportPlace): undefined => {
    const path = place.child(key);
    if (path.value !== undefined) path.change(`sockets for ${what} are in /run/snapferry, not where zrepl has its own`);
    for (const other of place.keys().filter((name) => name !== key))
      place.child(other).drop(`"${other}" is no key of zrepl 0.7 here`);
  };
}

function importLogging(place: ImportPlace): unknown {
  const outlets = place.items();
  const stdout = outlets.find((outlet) => outlet.child('type').value === 'stdout');
  for (const outlet of outlets) {
    const type = outlet.child('type').value;
    if (type === 'syslog' || type === 'tcp') {
      outlet.drop(
        `there is no outlet of type ${type}: the log goes to standard error, from where systemd brings it to its journal and to syslog`,
      );
    } else if (outlet !== stdout) {
      outlet.drop('there is one outlet only');
    }
  }
  if (stdout === undefined) return undefined;
  return [
    stdout.convert({
      type: (type) => {
        type.change('the log is written to standard error');
        return 'stderr';
      },
      level: same,
      format: (format) => {
        if (format.value !== 'logfmt') return same(format);
        format.drop('there is no format logfmt; "json" is used');
        return 'json';
      },
      time: same,
      color: same,
      retry_interval: silently,
    }),
  ];
}
