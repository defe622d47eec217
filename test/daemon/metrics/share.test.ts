import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { createDaemonMetrics } from '../../../src/daemon/metrics/daemon-metrics.ts';
import { daemonStatus } from '../../support/daemon-fixture.ts';

const root = join(import.meta.dirname, '../../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

const { body } = await createDaemonMetrics().expose(daemonStatus([]));
const types = new Map([...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map((match) => [match[1]!, match[2]!]));
const helps = new Map([...body.matchAll(/^# HELP (\S+) (.+)$/gm)].map((match) => [match[1]!, match[2]!]));

/** The metrics that a query names: everything of ours that is no label. */
function metricsIn(query: string): string[] {
  const words = [...query.matchAll(/\b(?:snapferry|process)_\w+/g)].map((match) => match[0]);
  return words.filter((word) => word !== 'snapferry_job');
}

interface Dashboard {
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly targets: readonly { expr: string }[];
  }[];
  readonly templating: { readonly list: readonly { readonly definition?: string }[] };
}

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly {
      alert: string;
      expr: string;
      for: string;
      labels: { severity: string };
      annotations: { summary: string; description: string };
    }[];
  }[];
}

const dashboard = JSON.parse(read('share/grafana/snapferry-dashboard.json')) as Dashboard;
const rules = (parse(read('share/prometheus/snapferry-alerts.yml')) as Rules).groups.flatMap((group) => group.rules);
const queries = [
  ...dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const)),
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
];

test.each(queries)('%s asks for metrics that there are', (_title, query) => {
  const named = metricsIn(query);
  expect(named.length).toBeGreaterThan(0);
  for (const name of named) expect([...types.keys()], query).toContain(name);
});

test.each(queries)('%s takes rates of counters, and of nothing else', (_title, query) => {
  const rated = new Set([...query.matchAll(/\b(?:rate|increase)\((\w+)/g)].map((match) => match[1]!));
  for (const name of metricsIn(query)) expect(rated.has(name), name).toBe(types.get(name) === 'counter');
});

test('labels that queries group by or choose by are those of the metrics', () => {
  const known = ['instance', 'snapferry_job', 'client', 'dataset', 'code', 'side', 'type', 'outcome'];
  for (const [, query] of queries) {
    const grouped = [...query.matchAll(/\b(?:by|on|group_left) \(([^)]*)\)/g)].flatMap((match) => match[1]!.split(','));
    const chosen = [...query.matchAll(/([a-z_]+)\s*(?:=~|!=|=)\s*"/g)].map((match) => match[1]!);
    for (const label of [...grouped, ...chosen].map((text) => text.trim()).filter(Boolean))
      expect(known).toContain(label);
  }
});

test('brackets of queries are closed', () => {
  for (const [title, query] of queries) {
    for (const [open, close] of ['()', '{}', '[]'] as const) {
      expect(query.split(open!).length, title).toBe(query.split(close!).length);
    }
  }
});

describe('the dashboard', () => {
  test('has panels with an id each', () => {
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  });

  test('offers machines and jobs by metrics that there are', () => {
    const definitions = dashboard.templating.list.flatMap(({ definition }) => definition ?? []);
    expect(definitions).toHaveLength(2);
    for (const definition of definitions) {
      const [, name = ''] = /^label_values\((\w+)/.exec(definition) ?? [];
      expect([...types.keys()]).toContain(name);
    }
  });
});

test.each(rules)('alert $alert says what it is and what to do', ({ labels, annotations, for: duration }) => {
  expect(['warning', 'critical']).toContain(labels.severity);
  expect(duration).toMatch(/^\d+[mh]$/);
  expect(annotations.summary).toMatch(/\{\{ \$labels\.instance \}\}/);
  expect(annotations.description.length).toBeGreaterThan(20);
});

test('every metric is documented, with its help, and no other one', () => {
  const rows = [
    ...read('docs/monitoring.md').matchAll(
      /^\| `((?:snapferry|process)_[a-z_]+)` +\| ([^|]+?) +\| ([^|]*?) +\| (.+?) +\|$/gm,
    ),
  ];
  const documented = new Map(rows.map((row) => [row[1]!, { type: row[2]!, help: row[4]! }]));
  const actual = new Map([...types].map(([name, type]) => [name, { type, help: helps.get(name)! }]));
  expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(actual));
});
