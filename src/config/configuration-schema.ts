import { z } from 'zod';
import { globalSettings } from './global-schemas.ts';
import { job } from './job-schemas.ts';
import { expecting, listOf, text } from './scalar-schemas.ts';

const include = listOf(text('a file, a folder or a pattern such as jobs.d/*.yml'), 'a list of files')
  .optional()
  .describe(
    'More files with jobs: each a file, a folder (all its *.yml) or a pattern such as jobs.d/*.yml, relative to this file.',
  );

const jobs = z.array(job, expecting('a list of jobs')).default([]).describe('What is to be done.');

/** The main file. */
export const mainFile = z
  .strictObject(
    { global: globalSettings.prefault({}).describe('What concerns the whole program.'), jobs, include },
    expecting('a mapping with jobs'),
  )
  .describe('Configuration of snapferry.');

/** A file named by `include`: `global` is only in the main one. */
export const includedFile = z.strictObject({ jobs, include }, expecting('a mapping with jobs'));

/** The JSON Schema (draft 2020-12) of the main file, for editors. It knows the shape, not every rule about values. */
export function configurationJSONSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(mainFile, { io: 'input', target: 'draft-2020-12' });
  return { ...schema, title: 'snapferry.yml' };
}
