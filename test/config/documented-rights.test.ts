import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseRights } from '../../src/config/stdinserver-configuration.ts';

/** Every configuration of `stdinserver` that stands in a document, whether as a block of its own or inside a shell script. */
function configurationsIn(document: string): string[] {
  const text = readFileSync(document, 'utf8');
  const blocks = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map((match) => match[1] ?? '');
  const scripts = [...text.matchAll(/stdinserver\.yml <<'E'\n(.*?)^E$/gms)].map((match) => match[1] ?? '');
  return [...blocks, ...scripts].filter((block) => block.startsWith('identities:'));
}

describe.each([
  ['README.md', 1],
  ['docs/CLI.md', 1],
  ['docs/permissions.md', 2],
])('the configurations in %s', (document, count) => {
  const configurations = configurationsIn(document);

  it('are found', () => {
    expect(configurations).toHaveLength(count);
  });

  it.each(configurations)('can be used: %s', (text) => {
    const { identities } = parse(text) as { identities: Record<string, unknown> };
    for (const identity of Object.keys(identities)) {
      const { sources, sink } = parseRights(text, document, identity);
      expect(sources.length > 0 || sink !== null).toBe(true);
    }
  });
});
