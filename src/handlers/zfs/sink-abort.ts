import type { ZfsTool } from './commands-tool.ts';
import { zfsCause } from './output-failure.ts';
import { abortReceiveArguments } from './receive-commands.ts';

/**
 * Discards what an interrupted receive left; no-op when there is nothing.
 * @throws SnapferryError `BUSY` while a receive runs, and as `ZfsTool.run` does
 */
export async function abortReceive(tool: ZfsTool, dataset: string): Promise<void> {
  await tool.run(abortReceiveArguments(dataset), {
    doing: `discarding the partial receive of ${dataset}`,
    fallback: 'INTERNAL',
    accepts: (stderr) => ['nothing_to_abort', 'dataset_not_found'].includes(zfsCause(stderr)),
  });
}
