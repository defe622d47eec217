import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The parts of a V8 CPU profile that are read here. */
interface CPUProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  /** Microseconds since the sample before. */
  readonly timeDeltas: readonly number[];
}

/** How many functions are listed. */
const functionsShown = 15;

/** Where a process spent its time: its functions by the time spent in themselves, in percent of the time it was not idle. */
export function summariseProfile(path: string): string {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(path, 'utf8')) as CPUProfile;
  const nameOf = new Map(nodes.map(({ id, callFrame }) => [id, frameName(callFrame)]));
  const microsOf = new Map<string, number>();
  samples.forEach((id, index) => {
    const name = nameOf.get(id) ?? '(unknown)';
    microsOf.set(name, (microsOf.get(name) ?? 0) + (timeDeltas[index] ?? 0));
  });
  const idle = microsOf.get('(idle)') ?? 0;
  microsOf.delete('(idle)');
  const busy = [...microsOf.values()].reduce((sum, micros) => sum + micros, 0);
  const rows = [...microsOf].toSorted(([, a], [, b]) => b - a).slice(0, functionsShown);
  const title = `${basename(dirname(path))} / ${basename(path)}: busy ${(busy / 1e6).toFixed(2)} s, idle ${(idle / 1e6).toFixed(2)} s`;
  return [
    title,
    ...rows.map(([name, micros]) => `  ${((100 * micros) / busy).toFixed(1).padStart(5)} %  ${name}`),
    '',
  ].join('\n');
}

/** Every profile below a folder, summarised. */
export function summariseProfiles(folder: string): string {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted();
  return paths
    .filter((path) => path.endsWith('.cpuprofile'))
    .map((path) => summariseProfile(join(folder, path)))
    .join('\n');
}

function frameName({ functionName, url, lineNumber }: CPUProfile['nodes'][number]['callFrame']): string {
  const name = functionName === '' ? '(anonymous)' : functionName;
  if (url === '') return name;
  const path = url.startsWith('file:') ? fileURLToPath(url).split('/').slice(-2).join('/') : url;
  return `${name}  ${path}:${lineNumber + 1}`;
}
