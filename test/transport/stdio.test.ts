import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { connectCommand } from '../../src/transport/command.ts';
import { describeTransport } from '../conformance/transport.ts';
import { relayedPair, stdioRelayArgv } from '../support/relay.ts';

describeTransport(
  'stdio',
  () => relayedPair((path) => connectCommand({ argv: stdioRelayArgv(path), exitWaitMs: 50 })),
  { abortLooksLikeEnd: true },
);

const tsx = fileURLToPath(import.meta.resolve('tsx'));
const module = new URL('../../src/transport/stdio.ts', import.meta.url).href;

/** Runs `body`, which has `stdio` in scope, with real pipes as standard input and output. */
function runInPipeline(body: string): Promise<string> {
  const program = `import(${JSON.stringify(module)}).then(async ({ stdio }) => { ${body} })`;
  const child = spawn(
    '/bin/sh',
    ['-c', 'printf in | "$@" | cat', 'sh', process.execPath, '--import', tsx, '-e', program],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  return text(child.stdout);
}

test('over real pipes: the end of the output is seen while the process lives, and a stray print is not', async () => {
  const output = await runInPipeline(`
    const stream = stdio();
    await stream.write(Buffer.from('the protocol'));
    process.stdout.write('a stray print');
    await stream.end();
    for await (const piece of stream.source) if (piece.toString() !== 'in') process.exit(1);
    await stream.close();
  `);
  expect(output).toBe('the protocol');
});

test('it can be taken once', async () => {
  const output = await runInPipeline(`
    const stream = stdio();
    try { stdio(); } catch (error) { await stream.write(Buffer.from(error.code)); }
    await stream.close();
  `);
  expect(output).toBe('INTERNAL');
});
