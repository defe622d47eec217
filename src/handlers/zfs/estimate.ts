import type { ZfsTool } from './commands-tool.ts';
import { sendDryRunArguments } from './commands.ts';
import type { SendSubject } from './commands.ts';
import { parseEstimate } from './output.ts';
import type { SendEstimate } from './output.ts';

/**
 * What a send would send, and how much, by a dry run: also the way to learn of most failures before there is a stream.
 * @throws SnapferryError as `ZfsTool.run` does; `RESUME_TOKEN_INVALID` for a token ZFS cannot go on with
 */
export async function estimateSend(
  tool: ZfsTool,
  subject: SendSubject,
  request: { readonly doing: string; readonly signal?: AbortSignal | undefined },
): Promise<SendEstimate> {
  const { stdout } = await tool.run(sendDryRunArguments(subject), request);
  return parseEstimate(stdout);
}
