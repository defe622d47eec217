import type { z } from 'zod';
import type { mainFile } from './configuration-schema.ts';
import type { YamlSource } from './yaml-source.ts';

/** The main file, as far as it could be read. */
export interface MainFile {
  readonly source: YamlSource;
  /** Null if anything in it is wrong. */
  readonly data: z.output<typeof mainFile> | null;
}
