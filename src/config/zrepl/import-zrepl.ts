import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { stringify } from 'yaml';
import { ConfigurationError } from '../configuration-error.ts';
import type { Configuration } from '../configuration.ts';
import { includedFiles } from '../included-files.ts';
import { readConfiguration } from '../load-configuration.ts';
import { readYaml } from '../yaml-source.ts';
import { importGlobal } from './import-global.ts';
import { importJob, placeRules } from './import-job.ts';
import type { ImportedJob } from './import-job.ts';
import { ImportPlace } from './import-place.ts';
import type { ImportNote } from './import-place.ts';

export type { ImportNote } from './import-place.ts';

/** What became of a configuration of zrepl. */
export interface ZreplImport {
  /** The same for us, ready to be written to a file; known to be accepted. */
  readonly yaml: string;
  /** As it is read back. Its file is called `imported`. */
  readonly configuration: Configuration;
  /** What was dropped or changed. */
  readonly notes: readonly ImportNote[];
}

/**
 * Turns a configuration of zrepl 0.7, with the files it includes, into ours. Everything that has no counterpart is named with its place
 * and the reason.
 * @throws ConfigurationError if it cannot be read, or what it says is refused here even after that; the message has the reasons
 */
export function importZrepl(
  file: string,
  read: (file: string) => string = (name) => readFileSync(name, 'utf8'),
): ZreplImport {
  const notes: ImportNote[] = [];
  const importing = new Importing(read, (note) => notes.push(note));
  const global = importing.main(file);
  placeRules(importing.jobs);
  const document = {
    ...(Object.keys(global).length > 0 && { global }),
    jobs: importing.jobs.map(({ job }) => job),
  };
  const yaml = `${header(file)}${stringify(document, { lineWidth: 0, aliasDuplicateObjects: false })}`;
  try {
    return { yaml, configuration: readConfiguration(yaml, 'imported'), notes };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    throw new ConfigurationError(
      `${file}: what it says is refused here; the lines below are those of the configuration it was turned into\n${error.message}`,
      { cause: error },
    );
  }
}

function header(file: string): string {
  return (
    `# Made from ${file.replaceAll(/[^\x20-\x7e]/g, '?')} of zrepl.\n` +
    '# zrepl and snapferry do not speak with each other: both ends of a replication have to be moved. Snapshots stay, and the first\n' +
    '# run goes on from the newest that both ends have. "others: destroy" removes, as zrepl does, what no rule keeps.\n'
  );
}

class Importing {
  readonly jobs: ImportedJob[] = [];
  readonly #read: (file: string) => string;
  readonly #tell: (note: ImportNote) => void;

  constructor(read: (file: string) => string, tell: (note: ImportNote) => void) {
    this.#read = read;
    this.#tell = tell;
  }

  main(file: string): Record<string, unknown> {
    const place = this.#open(file);
    let global: Record<string, unknown> = {};
    place.convert({
      global: (written) => void (global = importGlobal(written)),
      jobs: (jobs) => this.#jobs(jobs, file),
      include: (include) => {
        for (const entry of include.items()) this.#include(entry, file);
      },
    });
    return global;
  }

  #open(file: string): ImportPlace {
    let text;
    try {
      text = this.#read(resolve(file));
    } catch (error) {
      throw new ConfigurationError(`cannot read ${file}: ${(error as Error).message}`, { cause: error });
    }
    return ImportPlace.whole(readYaml(text, file, '1.1'), this.#tell);
  }

  #jobs(jobs: ImportPlace, file: string): void {
    for (const place of jobs.items()) {
      const job = importJob(place, { file: resolve(file) });
      if (job === null) {
        const type = JSON.stringify(place.child('type').value ?? null);
        place.drop(`the job has the type ${type}, which zrepl 0.7 does not have (push, pull, source, sink, snap)`);
      } else {
        this.jobs.push(job);
      }
    }
  }

  #include(entry: ImportPlace, from: string): void {
    const path = entry.text();
    if (path === undefined) {
      entry.drop('is no path');
      return;
    }
    let files;
    try {
      files = includedFiles(path, resolve(from));
      for (const file of files) statSync(file);
    } catch (error) {
      throw new ConfigurationError(`${from}: ${(error as Error).message}`, { cause: error });
    }
    for (const file of files) {
      this.#open(file).convert({
        jobs: (jobs) => this.#jobs(jobs, file),
        include: (nested) => nested.drop('zrepl does not let an included file include others'),
      });
    }
    entry.change('the jobs of included files are all written into one file');
  }
}
