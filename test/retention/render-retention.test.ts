import { expect, test } from 'vitest';
import { planRetention } from '../../src/retention/plan-retention.ts';
import { renderRetention } from '../../src/retention/render-retention.ts';
import { nothingElse, ownSnapshot, receivedSnapshot } from './memory-destroyer.ts';

const now = new Date('2027-06-01T00:00:00Z');
const versions = [
  ownSnapshot('manual', '2027-01-01T00:00:00Z'),
  ownSnapshot('zrepl_1', '2027-05-31T22:10:00Z'),
  ownSnapshot('zrepl_2', '2027-05-31T22:20:00Z'),
  ownSnapshot('zrepl_3', '2027-05-31T23:59:00Z'),
];
const plan = planRetention({
  ...nothingElse,
  versions: [...versions, { ...versions[3]!, type: 'bookmark', name: 'cursor' }],
  rules: [
    { type: 'keep_for', ageMs: 60_000, regex: null },
    { type: 'grid', grid: '1x1h(keep=all) | 1x1h', regex: '^zrepl_' },
  ],
  others: 'keep',
  now,
});

test('as text it is a diff with a reason on each line', () => {
  expect(renderRetention(plan, { format: 'text', dataset: 'tank/home' })).toBe(
    [
      'tank/home: 4 to be kept, 1 to be destroyed',
      '  keep     @manual   2027-01-01T00:00:00Z  others: no rule speaks of it',
      '  keep     @zrepl_1  2027-05-31T22:10:00Z  rule 2, grid: among the oldest 1 in interval 2 of 2 (1h)',
      '- destroy  @zrepl_2  2027-05-31T22:20:00Z  rule 2, grid: interval 2 of 2 (1h) keeps only its oldest 1, @zrepl_1',
      '  keep     @zrepl_3  2027-05-31T23:59:00Z  rule 2, grid: interval 1 of 2 (1h) keeps all',
      '  keep     #cursor   2027-05-31T23:59:00Z  bookmark: bookmarks take no space and are not pruned; replication removes its own that are superseded',
      '',
    ].join('\n'),
  );
});

test('as JSON it is one document', () => {
  const document = JSON.parse(renderRetention(plan, { format: 'json', dataset: 'tank/home' })) as Record<
    string,
    unknown
  >;
  expect(document).toMatchObject({ dataset: 'tank/home', now: '2027-06-01T00:00:00.000Z', keep: 4, destroy: 1 });
  expect((document['versions'] as unknown[])[2]).toEqual({
    type: 'snapshot',
    name: 'zrepl_2',
    guid: String(versions[2]!.guid),
    creation: '2027-05-31T22:20:00Z',
    at: '2027-05-31T22:20:00.000Z',
    verdict: 'destroy',
    by: 'grid',
    rule: 2,
    reason: 'interval 2 of 2 (1h) keeps only its oldest 1, @zrepl_1',
  });
});

test('what a peer claims is shown beside what is made of it, and does no harm to a terminal', () => {
  const forged = [
    receivedSnapshot('\u001b[2Jx', '2099-01-01T00:00:00Z', Date.parse('2027-05-01T00:00:00Z')),
    receivedSnapshot('y', '\u001b]0;', Date.parse('2027-05-02T00:00:00Z')),
    receivedSnapshot('z', null, null),
  ];
  const text = renderRetention(
    planRetention({
      ...nothingElse,
      versions: forged,
      rules: [{ type: 'last_n', count: 1, regex: null }],
      others: 'keep',
      now,
    }),
    { format: 'text', dataset: 'a\u202eb' },
  );
  expect(text.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u202e]/);
  expect(text).toContain('2027-05-01T00:00:00Z (it says 2099-01-01T00:00:00Z)');
  expect(text).toContain('unknown');
});
