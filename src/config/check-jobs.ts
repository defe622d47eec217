import { patternProblem, rootProblem } from './dataset-schemas.ts';
import type { ListenSettings, ServeSettings } from './connection-settings.ts';
import type { Backend, Job } from './job.ts';
import { jobPath, soundJobs } from './located-job.ts';
import type { LocatedJob } from './located-job.ts';
import { nearest } from './nearest.ts';
import { formatPath } from './schema-problems.ts';
import type { LocatedProblem, ValuePath, YamlSource } from './yaml-source.ts';
import type { MainFile } from './main-file.ts';

const backends: readonly string[] = ['zfs', 'btrfs', 'directory'] satisfies Backend[];

/** What only the schema of another backend would allow: found in what is written, whether the rest of the job is sound or not. */
export function backendProblems(source: YamlSource): LocatedProblem[] {
  const { jobs } = (source.value ?? {}) as { jobs?: unknown };
  if (!Array.isArray(jobs)) return [];
  return jobs.flatMap((written: unknown, index) =>
    isMapping(written) ? backendProblemsOf(source, written, index) : [],
  );
}

function backendProblemsOf(source: YamlSource, written: Record<string, unknown>, index: number): LocatedProblem[] {
  const { backend = 'zfs', type, filesystems, root_fs } = written;
  if (typeof backend !== 'string' || !backends.includes(backend)) return [];
  const problems: LocatedProblem[] = [];
  const refuse = (path: ValuePath, why: string, place: 'key' | 'value') => {
    const whole = ['jobs', index, ...path];
    problems.push(source.at(whole, formatPath(whole) + why, place));
  };
  if (isMapping(filesystems) && type !== 'pull') {
    for (const pattern of Object.keys(filesystems)) {
      const problem = patternProblem(backend as Backend, pattern);
      if (problem !== null) refuse(['filesystems', pattern], `pattern "${pattern}" ${problem}`, 'key');
    }
  }
  if (typeof root_fs === 'string' && root_fs !== '') {
    const problem = rootProblem(backend as Backend, root_fs);
    if (problem !== null) refuse(['root_fs'], `"${root_fs}" ${problem}`, 'value');
  }
  for (const [path, only] of optionsOfOne) {
    if (backend !== only && isWritten(written, path)) {
      refuse(path, `is only for the backend "${only}"; this job has "${backend}"`, 'key');
    }
  }
  return problems;
}

/** Options that only one backend has. */
const optionsOfOne: readonly (readonly [path: readonly string[], backend: Backend])[] = [
  [['exclude'], 'directory'],
  [['snapshot_folder'], 'btrfs'],
  ...['encrypted', 'raw', 'send_properties', 'large_blocks', 'compressed', 'embedded_data'].map(
    (option) => [['send', option], 'zfs'] as const,
  ),
  [['recv', 'properties'], 'zfs'],
  [['recv', 'placeholder'], 'zfs'],
];

function isWritten(written: unknown, path: readonly string[]): boolean {
  let at: unknown = written;
  for (const key of path) {
    if (!isMapping(at) || !Object.hasOwn(at, key)) return false;
    at = at[key];
  }
  return true;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What is wrong between jobs, in words, each with its place. */
export function jobProblems(jobs: readonly LocatedJob[], main: MainFile): string[] {
  const names = jobs.map(({ written }) =>
    isMapping(written) && typeof written['name'] === 'string' ? written['name'] : null,
  );
  return [
    ...repeated(jobs, (_job, index) => [[names[index] ?? null, ['name'], 'the name'] as const]),
    ...repeated(jobs, ({ job }) => (job !== null && 'serve' in job ? claims(job.serve) : [])),
    ...localProblems(jobs),
    ...circleProblems(jobs),
    ...notificationProblems(main, names),
  ];
}

/** Something only one job may have: what it is (null: nothing), where it is written, and what to call it. */
type Claim = readonly [value: string | null, path: ValuePath, what: string];

function repeated(
  jobs: readonly LocatedJob[],
  claimsOf: (job: LocatedJob, index: number) => readonly Claim[],
): string[] {
  const owners = new Map<string, string>();
  return jobs.flatMap((located, index) =>
    claimsOf(located, index).flatMap(([value, path, what]) => {
      if (value === null) return [];
      const place = located.source.at(jobPath(located, ...path), '').text.split(': ')[0] ?? '';
      const key = `${what} ${value}`;
      const owner = owners.get(key);
      owners.set(key, owner ?? place);
      if (owner === undefined) return [];
      const why = `${formatPath(jobPath(located, ...path))}${what} "${value}" is already taken at ${owner}; it has to be another one`;
      return [located.source.at(jobPath(located, ...path), why).text];
    }),
  );
}

function claims(serve: ServeSettings): Claim[] {
  switch (serve.type) {
    case 'tcp':
    case 'tls':
      return [[listenText(serve.listen), ['serve', 'listen'], 'the address']];
    case 'local':
      return [[serve.listenerName, ['serve', 'listener_name'], 'the name']];
    case 'unix':
      return [[serve.path ?? `systemd:${serve.socketName ?? ''}`, ['serve', 'path'], 'the socket']];
    case 'stdinserver':
      return serve.clientIdentities.map((name, index) => [name, ['serve', 'client_identities', index], 'the identity']);
  }
}

function listenText(listen: ListenSettings): string {
  return 'socketName' in listen ? `systemd:${listen.socketName}` : `${listen.host ?? ''}:${listen.port}`;
}

function localProblems(jobs: readonly LocatedJob[]): string[] {
  const isSound = jobs.every(({ job }) => job !== null);
  const listeners = soundJobs(jobs).flatMap(({ job }) =>
    'serve' in job && job.serve.type === 'local' ? [{ name: job.serve.listenerName, job }] : [],
  );
  return soundJobs(jobs).flatMap((located) => {
    const { job } = located;
    if (!('connect' in job) || job.connect.type !== 'local') return [];
    const { listenerName } = job.connect;
    const other = listeners.find(({ name }) => name === listenerName)?.job;
    const path = jobPath(located, 'connect', 'listener_name');
    const refuse = (why: string) => [located.source.at(path, formatPath(path) + why).text];
    if (other === undefined) {
      // A job with a mistake may be the one that is meant.
      if (!isSound) return [];
      const near = nearest(
        listenerName,
        listeners.map(({ name }) => name),
      );
      const advice =
        near === null ? 'add a job with "serve: { type: local }" and that name' : `did you mean "${near}"?`;
      return refuse(`no job serves "${listenerName}"; ${advice}`);
    }
    const wanted = job.type === 'push' ? 'sink' : 'source';
    if (other.type !== wanted)
      return refuse(`"${listenerName}" is the ${other.type} "${other.name}"; a ${job.type} needs a ${wanted}`);
    if (other.backend !== job.backend) {
      return refuse(
        `"${other.name}" has the backend "${other.backend}", this job "${job.backend}"; both sides need the same`,
      );
    }
    return [];
  });
}

/** A job whose copies are among what it copies would never come to an end. */
function circleProblems(jobs: readonly LocatedJob[]): string[] {
  const sound = soundJobs(jobs);
  return sound.flatMap((located) => {
    const { job } = located;
    const target = targetOf(
      job,
      sound.map((other) => other.job),
    );
    if (!('snapshotting' in job) || target === null) return [];
    const path = jobPath(located, 'filesystems');
    if (!job.filesystems.filter.matches(pathOf(target))) return [];
    const why = `the copies are stored in ${target}, which is among what is copied; leave it out: "${target}<": false`;
    return [located.source.at(path, formatPath(path) + why).text];
  });
}

function targetOf(job: Job, jobs: readonly Job[]): string | null {
  if (job.type === 'local') return job.rootFs;
  if (job.type !== 'push' || job.connect.type !== 'local') return null;
  const { listenerName } = job.connect;
  const sink = jobs.find(
    (other) => other.type === 'sink' && other.serve.type === 'local' && other.serve.listenerName === listenerName,
  );
  return sink?.type === 'sink' ? sink.rootFs : null;
}

/** The components of a ZFS dataset or an absolute directory. */
export function pathOf(root: string): readonly string[] {
  return root.split('/').filter((component) => component !== '');
}

function notificationProblems({ source, data }: MainFile, names: readonly (string | null)[]): string[] {
  const known = names.filter((name) => name !== null);
  return (data?.global.notifications ?? []).flatMap(({ jobs }, index) =>
    (jobs ?? []).flatMap((name, position) => {
      if (known.includes(name)) return [];
      const near = nearest(name, known);
      const path = ['global', 'notifications', index, 'jobs', position];
      const advice = near === null ? '' : `; did you mean "${near}"?`;
      return [source.at(path, `${formatPath(path)}there is no job "${name}"${advice}`).text];
    }),
  );
}
