import { describe, expect, test } from 'vitest';
import { SnapferryError } from '../../src/errors.ts';
import type { BackendTraits, TestBackend } from './backend.ts';
import { broken, collected, eachSession } from './backend-session.ts';
import type { BackendSession, SourceWay, StepOf } from './backend-session.ts';

/** Going on with what was interrupted. */
export function describeResumes(
  name: string,
  makeBackend: () => Promise<TestBackend>,
  way: SourceWay,
  traits: BackendTraits,
): void {
  describe(`${name}: resume`, () => {
    const session = eachSession(makeBackend, way);

    test('of a first transfer and of a later one', async () => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      for (const step of [
        { from: null, to: one },
        { from: one, to: two },
      ]) {
        const { whole, token } = await interrupted(session(), step);
        expect(token === undefined).toBe(!traits.resumes);
        const { resumed, bytes } = await session().transfer(step, token);
        expect(resumed).toBe(traits.resumes && way.version === 2);
        // How much of what has come is kept is the tool's affair: zfs recv keeps what it has written by then.
        if (resumed) expect(bytes).toBeLessThan(whole * 0.9);
        else expect(bytes).toBe(whole);
        expect(await backend.sink.resumeState(backend.filesystem)).toBeNull();
      }
      await session().expectTarget(one, two);
    });

    test('interrupted again and again', async () => {
      const { backend } = session();
      const step = { from: null, to: await backend.snapshot('one', 1) };
      let { token } = await interrupted(session(), step);
      for (let round = 0; round < 3; round++) ({ token } = await interrupted(session(), step, token));
      await session().transfer(step, token);
      await session().expectTarget(step.to);
    });

    test('not wanted: a transfer from the beginning takes its place', async () => {
      const { backend } = session();
      const step = { from: null, to: await backend.snapshot('one', 1) };
      const { whole } = await interrupted(session(), step);
      expect(await session().transfer(step)).toEqual({ resumed: false, bytes: whole });
      await session().expectTarget(step.to);
      expect(await backend.sink.resumeState(backend.filesystem)).toBeNull();
    });

    test('discarded, there is nothing to go on from', async () => {
      const { backend } = session();
      const { sink, filesystem } = backend;
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      const { token } = await interrupted(session(), { from: null, to: one });
      await sink.discardPartial(filesystem);
      await sink.discardPartial(filesystem);
      expect(await sink.resumeState(filesystem)).toBeNull();
      if (token !== undefined && way.version === 2) {
        // The source cannot know. A rest of which nothing is here must not be taken for the whole.
        await expect(session().transfer({ from: null, to: one }, token)).rejects.toBeInstanceOf(SnapferryError);
        await session().expectTarget();
        await sink.discardPartial(filesystem);
      }
      await session().transfer({ from: null, to: two });
      await session().expectTarget(two);
    });

    test('with the token of another step sends everything, or refuses', async () => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      const three = await backend.snapshot('three', 3);
      const { token } = await interrupted(session(), { from: null, to: one });
      if (token === undefined) return;
      await backend.sink.discardPartial(backend.filesystem);
      await expectNotUsed(session(), { from: null, to: two }, token);
      await expectNotUsed(session(), { from: two, to: three }, token);
    });

    test('with garbage sends everything, or refuses', async () => {
      const one = await session().backend.snapshot('one', 1);
      const step = { from: null, to: one };
      const whole = await session().wholeBytes(step);
      const client = await session().connected();
      for (const resumeToken of garbage) {
        try {
          const transfer = await session().offer(client, step, { resumeToken });
          expect(transfer.resumed).toBe(false);
          expect((await collected(transfer.bytes)).byteLength).toBe(whole);
        } catch (error) {
          expect(error).toMatchObject({ code: 'RESUME_TOKEN_INVALID', connectionDead: false });
        }
      }
    });

    test('that nobody asked for is not taken for the whole', async () => {
      const { backend } = session();
      const one = await backend.snapshot('one', 1);
      const two = await backend.snapshot('two', 2);
      await session().transfer({ from: null, to: one });
      const step = { from: one, to: two };
      const offer = await session().offer(await session().connected(), step);
      const received = session().receive(step, { ...offer, resumed: true });
      // A backend may see that it is all there, but never make of it anything else.
      await received.then(
        () => session().expectTarget(one, two),
        () => session().expectTarget(one),
      );
    });
  });
}

const garbage = ['', 'x', 'null', '{}', '-1', '0:0:0', '🦄', '../../etc/passwd', '\u0000', 'A'.repeat(100_000)];

/** Receives more than half of what is left of a step; what the target can then go on from. */
async function interrupted(
  session: BackendSession,
  step: StepOf,
  resumeToken?: string,
): Promise<{ whole: number; token: string | undefined }> {
  const { sink, filesystem } = session.backend;
  if (step.from === null) await sink.createParents(filesystem);
  const before = await session.target();
  const whole = await session.wholeBytes(step, resumeToken);
  const transfer = await session.offer(await session.connected(), step, { resumeToken });
  const cut = broken(transfer.bytes, Math.floor(whole * 0.6), () => {
    throw new SnapferryError('CONNECTION_LOST', 'the cable was pulled out');
  });
  await expect(session.receive(step, transfer, cut)).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
  await session.idle();
  expect(await session.target()).toEqual(before);
  const state = await sink.resumeState(filesystem);
  if (state !== null) {
    expect(state).toMatchObject({ fromGuid: step.from?.guid ?? null, toGuid: step.to.guid });
  }
  return { whole, token: state?.token };
}

async function expectNotUsed(session: BackendSession, step: StepOf, token: string): Promise<void> {
  const target = (await session.target()).length;
  const whole = await session.wholeBytes(step);
  try {
    expect(await session.transfer(step, token)).toEqual({ resumed: false, bytes: whole });
  } catch (error) {
    if (!(error instanceof SnapferryError)) throw error;
    expect(error).toMatchObject({ code: 'RESUME_TOKEN_INVALID', connectionDead: false });
    expect(await session.target()).toHaveLength(target);
    await session.transfer(step);
  }
  expect(await session.backend.targetFingerprint(step.to)).toEqual(await session.backend.sourceFingerprint(step.to));
}
