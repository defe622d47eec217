import { afterAll, beforeAll, expect, test } from 'vitest';
import { zfsTool } from '../../src/handlers/zfs/commands-tool.ts';
import { findProgram } from '../support/platform.ts';
import { describeZfs, run, snapshotsOf, TestPool, valueOf } from './pools.ts';
import { ReplicationPair } from './replication-pair.ts';

/** A user without any right of its own. */
const nobody = 65534;
const asNobody = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', 'zfs'] as const;

const sourceRights = 'send,hold,release,bookmark,destroy';
const sinkRights = 'receive,create,mount,canmount,mountpoint,readonly,userprop,hold,release';

describeZfs('without root, with "zfs allow" alone', () => {
  let source: TestPool;
  let target: TestPool;
  beforeAll(() => {
    if (findProgram('setpriv') === undefined)
      throw new Error('setpriv not found; install the Debian package util-linux');
    source = new TestPool('source');
    target = new TestPool('target');
  });
  afterAll(() => {
    source.destroy();
    target.destroy();
  });
  const pair = () => {
    const tool = zfsTool({ argv: [...asNobody] });
    const here = new ReplicationPair(source, target, { sourceTool: tool, sinkTool: tool });
    return { here, place: here.copy.slice(0, here.copy.lastIndexOf('/')) };
  };

  test('a source with the documented rights sends, holds and moves its cursor; a sink receives, makes placeholders and holds', async () => {
    const { here, place } = pair();
    run('zfs', 'allow', '-u', String(nobody), sourceRights, here.root);
    run('zfs', 'allow', '-u', String(nobody), sinkRights, place);
    run('zfs', 'create', '-p', here.at('a/b'));
    here.snapshot('one', 'a/b');
    await here.succeed({ roots: ['data/a/b'] });
    here.write('f', 100_000, 'a/b');
    here.snapshot('two', 'a/b');
    await here.succeed({ roots: ['data/a/b'] });
    here.expectCopied(['one', 'two'], 'a/b');
    expect(valueOf('readonly', here.copyOf('a/b'))).toBe('on');
    // The parent comes later, in the place of its placeholder.
    here.snapshot('one', 'a');
    await here.succeed({ roots: ['data/a'] });
    expect(snapshotsOf(here.copyOf('a'))).toHaveLength(1);
    const mark = run('zfs', 'get', '-H', '-o', 'value,source', 'snapferry:placeholder', here.copyOf('a'));
    expect(mark).toMatch(/^on\tinherited from /);
  });

  test('an interrupted transfer is resumed with the same rights', async () => {
    const { here, place } = pair();
    run('zfs', 'allow', '-u', String(nobody), sourceRights, here.root);
    run('zfs', 'allow', '-u', String(nobody), sinkRights, place);
    here.write('big', 6 * 1024 * 1024);
    here.snapshot('one');
    await here.run({}, 3 * 1024 * 1024);
    const { events } = await here.succeed();
    expect(events.find(({ kind }) => kind === 'stepStarted')).toMatchObject({ resumed: true });
    here.expectCopied(['one']);
  });

  test('without rights at either side it is said which way to go', async () => {
    const { here, place } = pair();
    here.snapshot('one');
    const noSource = await here.run();
    expect(noSource.results).toMatchObject([{ ok: false }]);
    expect(noSource.results[0]!.message).toContain('zfs allow');
    run('zfs', 'allow', '-u', String(nobody), sourceRights, here.root);
    const noSink = await here.run();
    expect(noSink.results[0]!.message).toContain('zfs allow');
    run('zfs', 'allow', '-u', String(nobody), 'receive,create,mount,readonly', place);
    // Enough to receive; that nothing can be held is told, and does not make it undone.
    const noHold = await here.run();
    expect(noHold.results).toMatchObject([
      { filesystem: ['data'], ok: true, notices: [expect.stringContaining('zfs allow') as string] },
    ]);
    expect(snapshotsOf(here.copy)).toHaveLength(1);
  });
});
