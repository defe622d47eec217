import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { configurationJSONSchema } from '../../src/config/configuration-schema.ts';
import { loadConfiguration } from '../../src/config/load-configuration.ts';
import { readYaml } from '../../src/config/yaml-source.ts';
import { schemaFaults } from '../support/json-schema.ts';

const folder = join(import.meta.dirname, '../../examples/config');
const samples = readdirSync(folder).filter((name) => name.endsWith('.yml'));

describe.each(samples)('the sample %s', (name) => {
  const configuration = loadConfiguration(join(folder, name));

  test('is read, and nothing about it is doubtful', () => {
    expect(configuration.jobs.length).toBeGreaterThan(0);
    expect(configuration.warnings).toEqual([]);
  });

  test('is right by the JSON Schema, too', () => {
    const { value } = readYaml(readFileSync(join(folder, name), 'utf8'), name);
    expect(schemaFaults(configurationJSONSchema(), value)).toEqual([]);
  });

  test('explains itself', () => {
    expect(readFileSync(join(folder, name), 'utf8')).toMatch(/^# \S/);
  });
});

test('there is a sample of every type of job and every backend', () => {
  const jobs = samples.flatMap((name) => loadConfiguration(join(folder, name)).jobs);
  expect(new Set(jobs.map(({ type }) => type))).toEqual(new Set(['pull', 'push', 'source', 'sink', 'snap', 'local']));
  expect(new Set(jobs.map(({ backend }) => backend))).toEqual(new Set(['zfs', 'btrfs', 'directory']));
});
