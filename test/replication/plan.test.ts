import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FilesystemVersion } from '../../src/dataset.ts';
import { describeConflict, planFilesystem } from '../../src/replication/plan.ts';
import type { FilesystemPlan, PlanRequest } from '../../src/replication/plan.ts';
import type { InitialReplicationPolicy } from '../../src/rpc/interfaces.ts';
import type { ResumeState } from '../../src/sink.ts';
import { history } from '../support/history.ts';

const filesystem = ['tank', 'home'];

interface Case {
  readonly source: string;
  /** Null: the dataset does not exist. */
  readonly sink: string | null;
  readonly policy?: InitialReplicationPolicy;
  /** `a>b`, or `>b` for an initial transfer. */
  readonly resume?: string;
  readonly canResume?: boolean;
  /** What the names of wanted snapshots begin with. */
  readonly wanted?: string;
}

function plan({ source, sink, policy = 'most_recent', resume, canResume = true, wanted = '' }: Case): FilesystemPlan {
  return planFilesystem({
    filesystem,
    source: history(source),
    sink: sink === null ? null : history(sink),
    policy,
    resume: resume === undefined ? null : resumeState(resume),
    canResume,
    isWanted: ({ name }) => name.startsWith(wanted),
  });
}

function resumeState(text: string): ResumeState {
  const [from = '', to = ''] = text.split('>');
  const guidOf = (name: string) => history(`@${name},1`)[0]!.guid;
  return { token: `token ${text}`, fromGuid: from === '' ? null : guidOf(from), toGuid: guidOf(to) };
}

/** `>a a>b`, `= b`, `empty`, `no_common`, `diverged`: a plan as short as the histories. */
function short(planned: FilesystemPlan): string {
  const discard = planned.discardPartial ? ' !discard' : '';
  const mark = (version: FilesystemVersion | null) =>
    version === null ? '' : (version.type === 'bookmark' ? '#' : '') + version.name;
  switch (planned.kind) {
    case 'steps':
      return (
        planned.steps
          .map(({ from, to, resumeToken }) => `${mark(from)}>${mark(to)}${resumeToken === null ? '' : '+'}`)
          .join(' ') + discard
      );
    case 'in_sync':
      return `= ${mark(planned.version)}${discard}`;
    case 'empty':
      return `empty${discard}`;
    case 'conflict':
      return planned.conflict.kind + discard;
  }
}

describe('planFilesystem', () => {
  it.each<[string, Case, string]>([
    ['nothing anywhere', { source: '', sink: null }, 'empty'],
    ['only bookmarks at the source', { source: '#a,1', sink: '@a,1' }, 'empty'],
    ['initial, the newest', { source: '@a,1 @b,2', sink: null }, '>b'],
    ['initial, all', { source: '@a,1 @b,2 @c,3', sink: null, policy: 'all' }, '>a a>b b>c'],
    ['initial into a dataset without snapshots', { source: '@a,1 @b,2', sink: '' }, '>b'],
    ['initial although the sink has bookmarks, which hold no data', { source: '@a,1 @b,2', sink: '#a,1' }, '>b'],
    ['listed in the wrong order', { source: '@c,3 @a,1 @b,2', sink: null, policy: 'all' }, '>a a>b b>c'],
    ['only wanted ones, the newest', { source: '@a1,1 @a2,2 @b,3', sink: null, wanted: 'a' }, '>a2'],
    ['only wanted ones, all', { source: '@a1,1 @b,2 @a2,3', sink: null, wanted: 'a', policy: 'all' }, '>a1 a1>a2'],
    ['none that is wanted', { source: '@b,1', sink: null, wanted: 'a' }, 'empty'],
    ['an unwanted one as base', { source: '@b,1 @a,2 @c,3', sink: '@b,1', wanted: 'a' }, 'b>a'],
    ['in sync but for unwanted ones', { source: '@a,1 @b,2', sink: '@a,1', wanted: 'a' }, '= a'],
    ['an unwanted one cannot be resumed', { source: '@b,1 @a,2', sink: '', resume: '>b', wanted: 'a' }, '>a !discard'],
    ['incremental, oldest first', { source: '@a,1 @b,2 @c,3', sink: '@a,9' }, 'a>b b>c'],
    ['incremental from the newest common one', { source: '@a,1 @b,2 @c,3', sink: '@a,1 @b,2' }, 'b>c'],
    ['incremental from a bookmark', { source: '#a,1 @b,2', sink: '@a,1' }, '#a>b'],
    ['a snapshot rather than its bookmark', { source: '#a,1 @a,1 @b,2', sink: '@a,1' }, 'a>b'],
    ['a bookmark newer than the last common snapshot', { source: '@a,1 #b,2 @c,3', sink: '@a,1 @b,2' }, '#b>c'],
    ['a bookmark in between is not sent', { source: '@a,1 #b,2 @c,3', sink: '@a,1' }, 'a>c'],
    ['guids decide, not names', { source: '@a,1,7 @b,2,8', sink: '@z,1,7' }, 'a>b'],
    ['equal names with other guids are nothing in common', { source: '@a,1,7', sink: '@a,1,8' }, 'no_common'],
    ['in sync', { source: '@a,1 @b,2', sink: '@a,1 @b,2' }, '= b'],
    ['in sync, older ones pruned at the sink', { source: '@a,1 @b,2', sink: '@b,2' }, '= b'],
    ['in sync, the newest known by its bookmark', { source: '@a,1 #b,2', sink: '@b,2' }, '= #b'],
    ['in sync, the sink has newer ones of its own', { source: '@a,1', sink: '@a,1 @own,2' }, '= a'],
    ['in sync, the source was rolled back', { source: '@a,1', sink: '@a,1 @b,2' }, '= a'],
    ['diverged: the same, and then the source goes on', { source: '@a,1 @c,3', sink: '@a,1 @b,2' }, 'diverged'],
    ['not diverged: own snapshots older than the common one', { source: '@a,1 @b,2', sink: '@own,0 @a,1' }, 'a>b'],
    ['not diverged: bookmarks of its own', { source: '@a,1 @b,2', sink: '@a,1 #own,2' }, 'a>b'],
    ['not diverged: the source knows it by a bookmark', { source: '@a,1 #b,2 @c,3', sink: '@a,1 @b,2' }, '#b>c'],
    ['no common version', { source: '@a,1', sink: '@b,1' }, 'no_common'],
    ['no common version although a sink bookmark matches', { source: '@a,1', sink: '#a,1 @b,2' }, 'no_common'],
    ['createTXG of the sink means nothing here', { source: '@a,100 @b,200', sink: '@x,1 @a,2' }, 'a>b'],
    ['an unknown type is neither sent nor from', { source: '?a,1 @b,2 ?c,3', sink: '@a,1' }, 'no_common'],
    ['an unknown type at the sink is in nobody’s way', { source: '@a,1 @b,2', sink: '@a,1 ?x,2' }, 'a>b'],
    ['equal createTXG: as listed', { source: '@b,1 @a,1 @c,1', sink: '@b,1' }, 'b>a a>c'],
    ['guid 0 at the source is left out', { source: '@a,1 @zero,2,0 @b,3', sink: '@a,1' }, 'a>b'],
    ['guid 0 on both sides is nothing in common', { source: '@a,1,0 @b,2', sink: '@a,1,0' }, 'no_common'],
    ['guid 0 at the sink would be rolled back', { source: '@a,1 @b,2', sink: '@a,1 @own,2,0' }, 'diverged'],
    ['a guid twice: the older one counts', { source: '@a,1 @b,2 @again,3,97 @c,4', sink: '@a,1' }, 'a>b b>c'],
    ['createTXG up to 2^64-1', { source: '@a,18446744073709551615 @b,18446744073709551614', sink: null }, '>a'],
  ])('%s', (_name, given, expected) => {
    expect(short(plan(given))).toBe(expected);
  });

  it.each<[string, Case, string]>([
    ['the first step of an incremental', { source: '@a,1 @b,2 @c,3', sink: '@a,1', resume: 'a>b' }, 'a>b+ b>c'],
    ['the same from a bookmark', { source: '#a,1 @b,2', sink: '@a,1', resume: 'a>b' }, '#a>b+'],
    ['an initial one, then what is newer', { source: '@a,1 @b,2 @c,3', sink: '', resume: '>b' }, '>b+ b>c'],
    ['the first of all', { source: '@a,1 @b,2', sink: '', policy: 'all', resume: '>a' }, '>a+ a>b'],
    [
      'not if it skips what `all` promises',
      { source: '@a,1 @b,2', sink: '', policy: 'all', resume: '>b' },
      '>a a>b !discard',
    ],
    ['not if it skips an incremental', { source: '@a,1 @b,2 @c,3', sink: '@a,1', resume: 'a>c' }, 'a>b b>c !discard'],
    ['not if its target is gone', { source: '@a,1 @c,3', sink: '@a,1', resume: 'a>b' }, 'a>c !discard'],
    ['not if its target is only a bookmark', { source: '@a,1 #b,2 @c,3', sink: '@a,1', resume: 'a>b' }, 'a>c !discard'],
    ['not if its origin is not ours', { source: '@a,1 @b,2 @c,3', sink: '@b,2', resume: 'a>c' }, 'b>c !discard'],
    [
      'not an initial one into a dataset with snapshots',
      { source: '@a,1 @b,2', sink: '@a,1', resume: '>b' },
      'a>b !discard',
    ],
    ['not an incremental one into an empty dataset', { source: '@a,1 @b,2', sink: '', resume: 'a>b' }, '>b !discard'],
    [
      'not if the source cannot',
      { source: '@a,1 @b,2', sink: '@a,1', resume: 'a>b', canResume: false },
      'a>b !discard',
    ],
    ['useless when in sync', { source: '@a,1', sink: '@a,1', resume: 'a>b' }, '= a !discard'],
    ['kept while a person decides', { source: '@a,1', sink: '@b,1', resume: 'b>c' }, 'no_common'],
    ['kept while the source shows nothing', { source: '', sink: '', resume: '>a' }, 'empty'],
  ])('resume: %s', (_name, given, expected) => {
    expect(short(plan(given))).toBe(expected);
  });

  it('says what it left out, and why', () => {
    const { ignored } = plan({ source: '@a,1 ?x,2 @zero,3,0 #a,4 @again,5,97', sink: null });
    expect(ignored.map(({ version, reason }) => `${version.name},${version.createTXG} ${reason}`)).toEqual([
      'x,2 type',
      'zero,3 guid',
      'again,5 duplicate',
    ]);
  });

  it('keeps the token and the source’s own version objects, which travel back unchanged', () => {
    const source = history('@a,1 @b,2');
    const planned = planFilesystem({
      filesystem,
      source,
      sink: history('@other,5,97'),
      policy: 'all',
      resume: resumeState('a>b'),
    });
    expect(planned).toMatchObject({ kind: 'steps', steps: [{ resumeToken: 'token a>b' }] });
    if (planned.kind !== 'steps') throw new Error('unreachable');
    expect(planned.steps[0].from).toBe(source[0]);
    expect(planned.steps[0].to).toBe(source[1]);
  });
});

describe('describeConflict', () => {
  const text = (given: Case) => {
    const planned = plan(given);
    if (planned.kind !== 'conflict') throw new Error(`expected a conflict, got ${planned.kind}`);
    return describeConflict(planned.filesystem, planned.conflict);
  };

  it('names what only one side has, and the common version', () => {
    const said = text({ source: '@a,1 @c,3', sink: '@a,1 @b,2' });
    expect(said).toMatch(/tank\/home.*@a\.\n.*source: @c \(guid 99\)\n.*target: @b \(guid 98\)\nNothing was changed/);
  });

  it('names both lists when there is nothing in common, cut after a few', () => {
    const sink = Array.from({ length: 9 }, (_, index) => `@s${index},${index}`).join(' ');
    const said = text({ source: '@a,1', sink });
    expect(said).toContain('source: @a (guid 97)');
    expect(said).toContain('target: 4 older, then @s4 ');
  });

  it('never lets a peer’s name act on the terminal', () => {
    expect(text({ source: '@a\u001b[2J,1', sink: '@b,1' })).toContain('@a\\u001b[2J');
  });
});

describe('the plan, whatever the histories', () => {
  const versions = (guids: number) =>
    fc.array(
      fc.record({
        type: fc.constantFrom('snapshot', 'snapshot', 'snapshot', 'bookmark', 'hologram'),
        name: fc.string({ minLength: 1, maxLength: 3, unit: fc.constantFrom('a', 'b', 'c') }),
        guid: fc.integer({ min: 0, max: guids }).map(BigInt),
        createTXG: fc.integer({ min: 0, max: 12 }).map(BigInt),
        creation: fc.constant(null),
      }),
      { maxLength: 10 },
    );
  const guid = fc.integer({ min: 0, max: 8 }).map(BigInt);
  const requests: fc.Arbitrary<PlanRequest> = fc.record({
    filesystem: fc.constant(filesystem),
    source: versions(8),
    sink: fc.option(versions(8)),
    policy: fc.constantFrom<InitialReplicationPolicy>('most_recent', 'all'),
    resume: fc.option(fc.record({ token: fc.constant('t'), fromGuid: fc.option(guid), toGuid: guid })),
  });
  const snapshots = (list: readonly FilesystemVersion[]) => list.filter(({ type }) => type === 'snapshot');
  const byTXG = (list: readonly FilesystemVersion[]) =>
    list.toSorted((a, b) => Number(a.createTXG) - Number(b.createTXG));

  it('ends with the newest source snapshot at the sink, each step building on what is there by then', () => {
    fc.assert(
      fc.property(requests, (request) => {
        const planned = planFilesystem(request);
        if (planned.kind !== 'steps') return;
        const atSink = snapshots(request.sink ?? []).map((version) => version.guid);
        for (const [index, { from, to, resumeToken }] of planned.steps.entries()) {
          if (from === null) expect(atSink).toEqual([]);
          else expect(atSink).toContain(from.guid);
          expect(to.type).toBe('snapshot');
          expect(to.guid).not.toBe(0n);
          expect(atSink).not.toContain(to.guid);
          if (index > 0) expect(resumeToken).toBeNull();
          atSink.push(to.guid);
        }
        const firstOfEach = new Map<bigint, FilesystemVersion>();
        for (const version of byTXG(snapshots(request.source))) {
          if (!firstOfEach.has(version.guid)) firstOfEach.set(version.guid, version);
        }
        firstOfEach.delete(0n);
        expect(atSink).toContain([...firstOfEach.values()].at(-1)?.guid);
        expect(planned.steps.at(-1)?.to.guid).toBe([...firstOfEach.values()].at(-1)?.guid);
      }),
      { numRuns: 3000 },
    );
  });

  it('says in sync only if nothing newer is to be had, and a conflict only if both sides have snapshots', () => {
    fc.assert(
      fc.property(requests, (request) => {
        const planned = planFilesystem(request);
        const sinkGuids = new Set(snapshots(request.sink ?? []).map((version) => version.guid));
        if (planned.kind === 'in_sync') {
          expect(sinkGuids).toContain(planned.version.guid);
          const sent = snapshots(request.source).filter(
            (version) =>
              version.guid !== 0n &&
              !sinkGuids.has(version.guid) &&
              version.createTXG > planned.version.createTXG &&
              !planned.ignored.some((ignored) => ignored.version === version),
          );
          expect(sent).toEqual([]);
        }
        if (planned.kind === 'empty') expect(snapshots(request.source).every(({ guid: id }) => id === 0n)).toBe(true);
        if (planned.kind === 'conflict') {
          expect(planned.conflict.source.length).toBeGreaterThan(0);
          expect(planned.conflict.sink.length).toBeGreaterThan(0);
          expect(planned.discardPartial).toBe(false);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('sends every newer snapshot of the source, in its order', () => {
    fc.assert(
      fc.property(requests, (request) => {
        const planned = planFilesystem(request);
        if (planned.kind !== 'steps') return;
        const [first] = planned.steps;
        if (first.from === null && request.policy === 'most_recent') return;
        const ignored = new Set(planned.ignored.map(({ version }) => version));
        const wanted = byTXG(snapshots(request.source)).filter((version) => !ignored.has(version));
        const begin = first.from === null ? 0 : wanted.findIndex((version) => version === first.to);
        expect(planned.steps.map(({ to }) => to)).toEqual(wanted.slice(begin));
        if (first.from !== null) {
          const skipped = wanted.slice(0, begin).filter((version) => version.createTXG > first.from!.createTXG);
          expect(skipped).toEqual([]);
        }
      }),
      { numRuns: 3000 },
    );
  });
});
