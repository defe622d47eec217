import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
const src = join(root, 'src');

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((path) => path.endsWith('.ts') && statSync(path).isFile());
}

const files = filesBelow(src).map((path) => relative(src, path));

/** Folder below src, or `vocabulary` for the files directly in it. */
function layerOf(file: string): string {
  return file.includes('/') ? file.slice(0, file.indexOf('/')) : 'vocabulary';
}

function importsOf(file: string, only: 'all' | 'values' = 'all'): string[] {
  const text = readFileSync(join(src, file), 'utf8');
  const read = only === 'all' ? text : text.replace(/^(?:import|export) type [^;]*;$/gm, '');
  return [...read.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]!);
}

/** What a layer may import besides itself; a path instead of a layer allows that one file. */
const allowed: Record<string, readonly string[]> = {
  vocabulary: [],
  chunker: ['vocabulary'],
  transport: ['vocabulary'],
  rpc: ['vocabulary', 'chunker', 'transport/byte-stream.ts', 'transport/listener.ts'],
  handlers: ['vocabulary', 'rpc/interfaces.ts'],
  replication: ['vocabulary', 'rpc/interfaces.ts'],
  retention: ['vocabulary', 'rpc/interfaces.ts'],
  config: ['vocabulary'],
  jobs: ['vocabulary', 'transport', 'rpc', 'handlers', 'replication', 'retention', 'config'],
  daemon: ['vocabulary', 'transport', 'rpc', 'handlers', 'replication', 'retention', 'config', 'jobs'],
  cli: [
    ...[
      'vocabulary',
      'chunker',
      'transport',
      'rpc',
      'handlers',
      'replication',
      'retention',
      'config',
      'jobs',
      'daemon',
    ],
  ],
};

describe('layers', () => {
  test.each(files.filter((file) => file !== 'index.ts'))('%s imports downward only', (file) => {
    const layer = layerOf(file);
    const may = allowed[layer];
    expect(may, `${layer} is no known layer: add it to ARCHITECTURE.md and here`).toBeDefined();
    for (const specifier of importsOf(file).filter((name) => name.startsWith('.'))) {
      const target = relative(src, join(src, dirname(file), specifier));
      const isAllowed = layerOf(target) === layer || may!.includes(layerOf(target)) || may!.includes(target);
      expect(isAllowed, `${file} imports ${target}: ${layer} may import ${may!.join(', ')}`).toBe(true);
    }
  });

  test('sockets are opened in transport only, children started in two places only', () => {
    for (const file of files) {
      const imports = importsOf(file, 'values');
      const sockets = ['node:net', 'node:tls', 'node:http', 'node:https', 'node:http2', 'node:dgram'];
      if (imports.some((name) => sockets.includes(name))) expect(layerOf(file), file).toBe('transport');
      if (imports.includes('node:child_process')) {
        expect(['handlers/run-command.ts', 'transport/command.ts'], file).toContain(file);
      }
    }
  });

  test('there is no import cycle', () => {
    const edges = new Map(
      files.map((file) => [
        file,
        importsOf(file)
          .filter((name) => name.startsWith('.'))
          .map((name) => relative(src, join(src, dirname(file), name))),
      ]),
    );
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]): void => {
      expect(path, `cycle: ${[...path, file].join(' -> ')}`).not.toContain(file);
      if (done.has(file)) return;
      for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
  });
});

describe('rooms', () => {
  test.each(files)('%s is of a size that can be read in one sitting', (file) => {
    expect(readFileSync(join(src, file), 'utf8').split('\n').length).toBeLessThanOrEqual(320);
  });

  test('no room is named after nothing', () => {
    const vague = files.filter((file) => /(^|\/)(utils?|helpers?|common|manager|misc)(\.|\/|-)/.test(file));
    expect(vague).toEqual([]);
  });

  test('nothing is left for later', () => {
    for (const file of files) expect(readFileSync(join(src, file), 'utf8'), file).not.toMatch(/\b(TODO|FIXME|XXX)\b/);
  });
});
