import type { z } from 'zod';
import { configurationProblems } from './configuration-error.ts';
import { checkSchema } from './schema-problems.ts';
import { readYaml } from './yaml-source.ts';

/**
 * Reads a YAML text by a schema. Every problem is reported, each with file, line and column, the line itself and a mark
 * below the place; a misspelt key with the one that was probably meant.
 * @param file its name, for messages
 * @throws ConfigurationError
 */
export function parseConfiguration<Schema extends z.ZodType>(
  text: string,
  file: string,
  schema: Schema,
): z.output<Schema> {
  const { data, problems } = checkSchema(readYaml(text, file), schema);
  if (data === null) throw configurationProblems(problems.map((problem) => problem.text));
  return data;
}
