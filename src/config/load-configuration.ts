import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { backendProblems, jobProblems } from './check-jobs.ts';
import { configurationWarnings } from './check-warnings.ts';
import { includedFile, mainFile } from './configuration-schema.ts';
import { ConfigurationError, configurationProblems } from './configuration-error.ts';
import type { Configuration } from './configuration.ts';
import { includedFiles } from './included-files.ts';
import { job as jobSchema } from './job-schemas.ts';
import { soundJobs } from './located-job.ts';
import type { LocatedJob } from './located-job.ts';
import type { MainFile } from './main-file.ts';
import { checkSchema } from './schema-problems.ts';
import { readYaml } from './yaml-source.ts';
import type { LocatedProblem, YamlSource } from './yaml-source.ts';

const filesMax = 1000;

/** How files are got at; for tests and for a text that is not in a file. */
export interface ConfigurationFiles {
  /** The text of a file, by its absolute name. */
  readonly read: (file: string) => string;
}

/**
 * Reads a configuration with everything it includes, and checks it as a whole.
 * @throws ConfigurationError with every problem there is, each with file, line and column; nothing of it can be used then
 */
export function loadConfiguration(
  file: string,
  { read }: ConfigurationFiles = { read: (name) => readFileSync(name, 'utf8') },
): Configuration {
  const loading = new Loading(read);
  const main = loading.main(file);
  const problems = [...loading.problems, ...jobProblems(loading.jobs, main)];
  if (problems.length > 0 || main.data === null) throw configurationProblems(problems);
  return {
    file,
    files: loading.files,
    global: main.data.global,
    jobs: soundJobs(loading.jobs).map(({ job }) => job),
    warnings: configurationWarnings(loading.jobs, main),
  };
}

/**
 * Checks a configuration that is a text.
 * @param file its name, for messages, and what its includes are relative to
 * @throws ConfigurationError as {@link loadConfiguration} does
 */
export function readConfiguration(text: string, file: string): Configuration {
  const main = resolve(file);
  return loadConfiguration(file, { read: (name) => (name === main ? text : readFileSync(name, 'utf8')) });
}

class Loading {
  readonly problems: string[] = [];
  readonly jobs: LocatedJob[] = [];
  readonly files: string[] = [];
  readonly #read: (file: string) => string;

  constructor(read: (file: string) => string) {
    this.#read = read;
  }

  main(file: string): MainFile {
    let source;
    try {
      source = readYaml(this.#read(resolve(file)), file);
    } catch (error) {
      if (error instanceof ConfigurationError) throw error;
      const why = `cannot read the configuration ${file}: ${(error as Error).message}`;
      throw new ConfigurationError(`${why}; create it, or name another one with --config`, { cause: error });
    }
    const written = source.value === undefined ? { ...source, value: {} } : source;
    const { data, problems } = checkSchema(written, mainFile);
    this.files.push(resolve(file));
    this.#take(written, problems);
    this.#include(written, [resolve(file)]);
    return { source: written, data };
  }

  /** What is sound of a file is taken even if something else is not, so that what is wrong between files is told, too. */
  #take(source: YamlSource, problems: readonly LocatedProblem[]): void {
    const found = [...problems, ...backendProblems(source)].sort((one, other) => one.offset - other.offset);
    this.problems.push(...found.map(({ text }) => text));
    for (const [index, written] of listOf(source.value, 'jobs').entries()) {
      const { data, success } = jobSchema.safeParse(written);
      this.jobs.push({ source, index, written, job: success ? data : null });
    }
  }

  #include(source: YamlSource, chain: readonly string[]): void {
    for (const [index, entry] of listOf(source.value, 'include').entries()) {
      const refuse = (why: string) =>
        this.problems.push(source.at(['include', index], `include.${index}: ${why}`).text);
      if (typeof entry !== 'string') continue;
      let files: string[];
      try {
        files = includedFiles(entry, chain.at(-1) ?? source.file);
      } catch (error) {
        refuse((error as Error).message);
        continue;
      }
      for (const file of files) {
        if (chain.includes(file)) refuse(`goes round in a circle: ${[...chain, file].join(' includes ')}`);
        else if (this.files.includes(file)) refuse(`${file} is already included`);
        else if (this.files.length >= filesMax) refuse(`there are more than ${filesMax} files`);
        else this.#included(file, chain, refuse);
      }
    }
  }

  #included(file: string, chain: readonly string[], refuse: (why: string) => void): void {
    this.files.push(file);
    let source;
    try {
      source = readYaml(this.#read(file), file);
    } catch (error) {
      if (error instanceof ConfigurationError) this.problems.push(...error.problems);
      else refuse(`cannot read ${file}: ${(error as Error).message}`);
      return;
    }
    const written = source.value === undefined ? { ...source, value: {} } : source;
    this.#take(written, checkSchema(written, includedFile).problems);
    this.#include(written, [...chain, file]);
  }
}

function listOf(value: unknown, key: string): readonly unknown[] {
  const list = (value as Record<string, unknown> | null)?.[key];
  return Array.isArray(list) ? list : [];
}
