import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pino from 'pino';
import type { Job } from '../../src/config/job.ts';
import type { Configuration } from '../../src/config/configuration.ts';
import { removeTree } from '../../src/handlers/directory/tree.ts';
import { createJob } from '../../src/jobs/create-job.ts';
import type { JobEvent } from '../../src/jobs/job-events.ts';
import { LocalListeners } from '../../src/jobs/local-listeners.ts';
import type { RunCause, RunResult } from '../../src/jobs/run-result.ts';
import type { JobDependencies, JobService, RunnableJob } from '../../src/jobs/runnable-job.ts';
import type { ByteStream } from '../../src/transport/byte-stream.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { configurationOf } from '../support/job-settings.ts';

/** What happens to the next connections, in order; undefined: nothing. */
export type LineFault =
  | { readonly cutAfterBytes: number }
  | { readonly silentAfterBytes: number }
  | { readonly callAfterBytes: number; readonly call: () => void }
  | undefined;

/** Local connections that can break. */
class FaultyListeners extends LocalListeners {
  readonly faults: LineFault[] = [];
  /** Connections made. */
  connections = 0;

  override connect(name: string, identity: string): ByteStream {
    const stream = super.connect(name, identity);
    this.connections += 1;
    const fault = this.faults.shift();
    return fault === undefined ? stream : faultyStream(stream, fault);
  }
}

/** Counts what passes in both directions. */
function faultyStream(stream: ByteStream, fault: NonNullable<LineFault>): ByteStream {
  let bytes = 0;
  const isSilent = (passing: number): boolean => {
    bytes += passing;
    if ('cutAfterBytes' in fault && bytes > fault.cutAfterBytes) stream.abort(new Error('the line was cut'));
    if ('callAfterBytes' in fault && bytes > fault.callAfterBytes) fault.call();
    return 'silentAfterBytes' in fault && bytes > fault.silentAfterBytes;
  };
  async function* source() {
    for await (const piece of stream.source) if (!isSilent(piece.byteLength)) yield piece;
  }
  const incoming = source();
  return {
    get source() {
      return incoming;
    },
    write: (piece) => (isSilent(piece.byteLength) ? Promise.resolve() : stream.write(piece)),
    end: () => stream.end(),
    abort: (reason) => stream.abort(reason),
    close: () => stream.close(),
    description: stream.description,
    [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
  };
}

/** Jobs on directories below one temporary folder, a clock that goes when told to, and what the jobs have told. */
export class JobFixture {
  readonly root = mkdtempSync(join(tmpdir(), 'snapferry-jobs-'));
  readonly clock = new FakeClock();
  readonly events: JobEvent[] = [];
  readonly listeners = new FaultyListeners();
  /** What could be in the file. */
  readonly text: string;
  readonly configuration: Configuration;
  /** Called with each event, after it was recorded. */
  onEvent: (event: JobEvent) => void = () => undefined;
  readonly #jobs = new Map<string, RunnableJob>();
  readonly #services: JobService[] = [];

  /**
   * @param jobs the configuration below `jobs:`; `ROOT` stands for the temporary folder
   * @param global one more line of `global`
   */
  constructor(jobs: string, global = '') {
    const text = `
global:
  state_dir: ROOT/state
  serve: { stdinserver: { sockdir: ROOT/sockets } }
  ${global}
jobs:
${jobs}`;
    this.text = text.replaceAll('ROOT', this.root);
    this.configuration = configurationOf(this.text, this.path('snapferry.yml'));
  }

  get dependencies(): JobDependencies {
    return {
      global: this.configuration.global,
      logger: pino({ level: 'silent' }),
      clock: this.clock,
      localListeners: this.listeners,
      onEvent: (event) => {
        this.events.push(event);
        // Waiting between attempts takes no time here.
        if (event.kind === 'retrying') setImmediate(() => void this.clock.pass(event.waitMs));
        this.onEvent(event);
      },
    };
  }

  /** Ends all services, with what they have left to do. */
  async stop(): Promise<void> {
    await Promise.all(this.#services.map((service) => service.stop(60_000)));
  }

  async cleanup(): Promise<void> {
    await Promise.all(this.#services.map((service) => service.stop(0)));
    await removeTree(this.root);
  }

  settings(name: string): Job {
    return this.configuration.jobs.find((job) => job.name === name)!;
  }

  /** The same job each time. */
  job(name: string): RunnableJob {
    const known = this.#jobs.get(name) ?? createJob(this.settings(name), this.dependencies);
    this.#jobs.set(name, known);
    return known;
  }

  /** As a process that was started anew would have it. */
  forget(name: string): void {
    this.#jobs.delete(name);
  }

  async serve(name: string): Promise<JobService> {
    const service = this.job(name).serve!();
    this.#services.push(service);
    await service.listening;
    return service;
  }

  run(name: string, cause: RunCause = 'wakeup', signal = new AbortController().signal): Promise<RunResult> {
    return this.job(name).run({ cause, signal });
  }

  path(name: string): string {
    return join(this.root, name);
  }

  write(name: string, content: string | Uint8Array): void {
    const path = this.path(name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }

  /** Names of the snapshots of a live directory. */
  taken(directory: string): string[] {
    return readdirSync(this.path(`${directory}/.snapferry/snapshots`)).sort();
  }

  /** Names of the snapshots of a copy. */
  stored(directory: string): string[] {
    return readdirSync(this.path(`${directory}/snapshots`)).sort();
  }

  /** The path below a target at which a dataset of this folder is stored. */
  below(target: string, directory: string): string {
    return `${target}${this.path(directory)}`;
  }

  kinds(): string[] {
    return this.events.map(({ kind }) => kind);
  }

  eventsOf<Kind extends JobEvent['kind']>(kind: Kind): Extract<JobEvent, { kind: Kind }>[] {
    return this.events.filter((event): event is Extract<JobEvent, { kind: Kind }> => event.kind === kind);
  }

  /** The end of the run that a client causes next. */
  runEnd(job: string): Promise<RunResult> {
    return new Promise((resolve) => {
      const before = this.onEvent;
      this.onEvent = (event) => {
        before(event);
        if (event.kind !== 'runEnded' || event.job !== job) return;
        this.onEvent = before;
        resolve(event.result);
      };
    });
  }
}
