import type { z } from 'zod';
import { isErrorCode, SnapferryError, toSnapferryError } from '../errors.ts';
import { printable } from './format.ts';
import type { RemoteLocation } from './location.ts';
import type { ConnectionFlags } from './options.ts';
import { startRemote } from './peer.ts';
import type { DocumentCommand } from './remote-command.ts';
import type { Run } from './run.ts';

const documentBytesMax = 256 * 1024 * 1024;

/**
 * Has a command run on the machine of a location with `--json`, and returns its document, checked. So a result is shown in
 * the same way wherever it came from, and nothing that the other machine sends reaches the terminal unchecked.
 * @throws SnapferryError the command's own, with its code; or what kept it from being run
 */
export async function remoteDocument<Schema extends z.ZodType>(
  run: Run,
  location: RemoteLocation,
  command: DocumentCommand,
  flags: ConnectionFlags,
  schema: Schema,
): Promise<z.output<Schema>> {
  const what = `the answer of ${location.host} to ${command.command}`;
  const { text, failure } = await readOutput(run, location, { ...command, json: true }, flags, what);
  const document = parse(text);
  if (document === undefined) {
    if (failure !== null) throw failure;
    throw new SnapferryError('PROTOCOL_VIOLATION', `${what} is no JSON: ${printable(text.slice(0, 200))}`);
  }
  throwItsError(document, location);
  const result = schema.safeParse(document);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new SnapferryError(
    'PROTOCOL_VIOLATION',
    `${what} is not as expected: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}; is it an older version?`,
  );
}

/** A command that found something wrong prints its document all the same and then exits with a failure. */
async function readOutput(
  run: Run,
  location: RemoteLocation,
  command: DocumentCommand,
  flags: ConnectionFlags,
  what: string,
): Promise<{ text: string; failure: SnapferryError | null }> {
  const { stream, showStderr } = await startRemote(run, location, command, flags);
  showStderr();
  const pieces: Buffer[] = [];
  let bytes = 0;
  let failure: SnapferryError | null = null;
  try {
    await stream.end();
    for await (const piece of stream.source) {
      bytes += piece.byteLength;
      if (bytes > documentBytesMax)
        throw new SnapferryError('LIMIT_EXCEEDED', `${what} is over ${documentBytesMax} bytes`);
      pieces.push(Buffer.from(piece));
    }
    await stream.close();
  } catch (error) {
    failure = toSnapferryError(error, 'CONNECTION_LOST', what);
    stream.abort(failure);
    await stream.close().catch(() => {});
    if (failure.code === 'LIMIT_EXCEEDED' || run.signal.aborted) throw failure;
  }
  return { text: Buffer.concat(pieces).toString('utf8'), failure };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function throwItsError(document: unknown, { host }: RemoteLocation): void {
  const error = (document as { error?: { code?: unknown; message?: unknown; retryable?: unknown } } | null)?.error;
  if (error === undefined || typeof error.code !== 'string' || typeof error.message !== 'string') return;
  const code = isErrorCode(error.code) ? error.code : 'INVALID_REQUEST';
  throw new SnapferryError(code, `on ${host}: ${error.message}`, {
    fromPeer: true,
    retryable: error.retryable === true,
  });
}
