import { z } from 'zod';
import { checkDatasetPath } from '../dataset.ts';
import { parseDatasetFilter, parsePattern } from '../dataset-filter.ts';
import type { DatasetSelection } from './dataset-selection.ts';
import type { Backend } from './job.ts';
import { expecting } from './scalar-schemas.ts';

const example = 'e.g. { "tank<": true, "tank/tmp<": false }';

/** `filesystems`: patterns to true or false. What only one backend asks for is checked by {@link patternProblem}. */
export const filesystems = z
  .record(z.string(), z.boolean(expecting('true (meant) or false (left out)')), expecting(`patterns, ${example}`))
  .transform((written, context): DatasetSelection => {
    const rules = Object.fromEntries(
      Object.entries(written).map(([pattern, isMeant]) => [withoutSlash(pattern), isMeant]),
    );
    let isReadable = true;
    for (const [pattern, bare] of Object.keys(written).map((key) => [key, withoutSlash(key)] as const)) {
      try {
        parsePattern(bare);
      } catch (error) {
        isReadable = false;
        context.addIssue({
          code: 'custom',
          path: [pattern],
          message: (error as Error).message,
          params: { ofKey: true },
        });
      }
    }
    if (!isReadable) return z.NEVER;
    if (!Object.values(written).includes(true))
      context.addIssue(`means no dataset at all; at least one must be true, ${example}`);
    return { rules, filter: parseDatasetFilter(rules) };
  })
  .describe(
    'Which datasets: patterns to true or false; "tank<" is tank and all below it; the most specific pattern decides.',
  );

/** The selection of every dataset. */
export const everyDataset: DatasetSelection = { rules: { '<': true }, filter: parseDatasetFilter({ '<': true }) };

function withoutSlash(pattern: string): string {
  return pattern.replace(/^\/(?=.)/, '');
}

const zfsComponent = /^[A-Za-z0-9_.:-][A-Za-z0-9_.: -]*$/;

/** What is wrong with the name of a ZFS dataset, or null. */
export function zfsNameProblem(name: string): string | null {
  if (name.startsWith('/')) return `begins with a slash; it names a ZFS dataset, e.g. ${name.slice(1) || 'tank/data'}`;
  const components = name.split('/');
  try {
    checkDatasetPath(components);
  } catch (error) {
    return (error as Error).message;
  }
  const odd = components.find(
    (component, index) => !zfsComponent.test(component) || (index === 0 && component.startsWith('-')),
  );
  return odd === undefined ? null : `has ${JSON.stringify(odd)}, which cannot be part of the name of a ZFS dataset`;
}

/** What is wrong with a pattern for datasets of this machine because of the backend, or null. */
export function patternProblem(backend: Backend, pattern: string): string | null {
  if (backend === 'zfs') {
    const name = pattern.replace(/<$/, '');
    // A "<" in the middle is what the filter itself refuses.
    return name === '' || name.includes('<') ? null : zfsNameProblem(name);
  }
  if (!pattern.startsWith('/')) return 'must be the absolute path of a directory, e.g. "/srv/data"';
  if (backend === 'directory' && pattern.endsWith('<')) {
    return 'ends with "<"; with the backend "directory" each directory is one dataset with all below it, so name them one by one';
  }
  return null;
}

/** What is wrong with the place where copies are stored because of the backend, or null. */
export function rootProblem(backend: Backend, root: string): string | null {
  if (backend === 'zfs') return zfsNameProblem(root);
  if (!root.startsWith('/')) return 'must be the absolute path of a directory, e.g. "/backup"';
  return root.split('/').includes('..') ? 'must not have ".." in it' : null;
}
