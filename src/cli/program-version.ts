import { readFileSync } from 'node:fs';

/** The version of the program. `package.json` lies beside `dist` in the package, and beside `src` in the repository. */
export function programVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
