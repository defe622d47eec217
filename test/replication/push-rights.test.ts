import { expect, it } from 'vitest';
import { exitCodeOfResults, exitCodes } from '../../src/cli/exit-code.ts';
import { confinedSink } from '../../src/handlers/confine-dataset.ts';
import { restricted } from '../../src/handlers/restricted.ts';
import { pullInto } from '../../src/replication/pull-me.ts';
import { connectByWire } from '../support/connect.ts';
import { memoryBackend } from '../support/memory-backend.ts';
import { outcomes } from '../support/replication-fixture.ts';

const policy = { initialReplicationPolicy: 'all' } as const;

/** Who pushes two datasets, and who stores them. */
function sides() {
  const pusher = memoryBackend();
  const receiver = memoryBackend();
  for (const name of ['mine', 'other']) pusher.snapshot(name, 's1', `content of ${name}`);
  return { pusher, receiver };
}

it('a pusher that may give only one of its datasets away is told so of the other, and the one has arrived', async () => {
  const { pusher, receiver } = sides();
  const handler = { ...receiver.handler, pullMe: pullInto({ sink: receiver.sink, jobId: 'push' }) };
  const connection = await connectByWire(handler, { clientIdentity: 'laptop' });
  const mayRead = ([name]: readonly string[]) => name === 'mine';
  const offered = restricted(pusher.handler, { mayList: () => true, mayRead, mayPush: false });
  const report = await connection.client.pullMe(policy, offered);
  expect(outcomes(report?.filesystems ?? [])).toEqual(['mine ok 1', 'other ACCESS_DENIED 0']);
  expect(report?.filesystems[1]?.message).toMatch(/may not read other/);
  expect(exitCodeOfResults(report?.filesystems ?? [])).toBe(exitCodes.incomplete);
  expect([...receiver.datasets.keys()]).toEqual(['mine']);
  await connection.close();
});

it('a client that names a place that is not its own is refused that one dataset, and stores the others', async () => {
  const { pusher, receiver } = sides();
  const target = (filesystem: readonly string[]) =>
    filesystem[0] === 'other' ? ['backup', 'somebody else', 'home'] : ['backup', 'laptop', ...filesystem];
  receiver.snapshot('backup/somebody else/home', 'theirs', 'theirs');
  const sink = confinedSink(receiver.sink, ['backup', 'laptop']);
  const handler = restricted(
    { ...receiver.handler, pullMe: pullInto({ sink, jobId: 'push', target }) },
    { mayList: () => false, mayRead: () => false, mayPush: true },
  );
  const connection = await connectByWire(handler, { clientIdentity: 'laptop' });
  const report = await connection.client.pullMe(policy, pusher.handler);
  expect(outcomes(report?.filesystems ?? [])).toEqual(['mine ok 1', 'other ACCESS_DENIED 0']);
  expect(receiver.list('backup/somebody else/home')).toBe('@theirs');
  expect(receiver.list('backup/laptop/mine')).toBe('@s1');
  await connection.close();
});

it('a client that may not push at all is told before anything is asked of it', async () => {
  const { pusher, receiver } = sides();
  const asked: string[] = [];
  pusher.faults.call = (name) => void asked.push(name);
  const handler = restricted(
    { ...receiver.handler, pullMe: pullInto({ sink: receiver.sink, jobId: 'push' }) },
    { mayList: () => true, mayRead: () => true, mayPush: false },
  );
  const connection = await connectByWire(handler, { clientIdentity: 'stranger' });
  await expect(connection.client.pullMe(policy, pusher.handler)).rejects.toMatchObject({ code: 'ACCESS_DENIED' });
  expect(asked).toEqual([]);
  expect(receiver.datasets.size).toBe(0);
  await connection.close();
});
