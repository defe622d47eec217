import { toSnapferryError } from '../errors.ts';
import type { DaemonExtensionContext, DaemonExtensions } from './daemon-extension.ts';

const disposeMsMax = 10_000;

/** Extensions that have begun. */
export interface RunningExtensions {
  /** Ends them, the last one first. One that does not end in time is left behind. Never rejects. */
  readonly end: () => Promise<void>;
}

/** Begins extensions one after the other. What fails is logged, and left out. Never rejects. */
export async function runningExtensions(
  extensions: DaemonExtensions,
  context: DaemonExtensionContext,
): Promise<RunningExtensions> {
  const { logger } = context;
  const running: { readonly name: string; readonly extension: AsyncDisposable }[] = [];
  for (const { name, start } of extensions) {
    try {
      running.push({ name, extension: await start(context) });
    } catch (error) {
      const { code, message } = toSnapferryError(error);
      logger.error({ extension: name, code }, `${name} could not begin, and is left out: ${message}`);
    }
  }
  return {
    async end() {
      for (const { name, extension } of running.splice(0).reverse()) await endOne(context, name, extension);
    },
  };
}

async function endOne(
  { clock, logger }: DaemonExtensionContext,
  name: string,
  extension: AsyncDisposable,
): Promise<void> {
  let forget: () => void = () => undefined;
  const late = new Promise<'late'>((resolve) => (forget = clock.after(disposeMsMax, () => resolve('late'))));
  try {
    const ended = await Promise.race([extension[Symbol.asyncDispose](), late]);
    if (ended === 'late') logger.warn({ extension: name }, `${name} did not end within ${disposeMsMax} ms`);
  } catch (error) {
    const { code, message } = toSnapferryError(error);
    logger.warn({ extension: name, code }, `${name} did not end well: ${message}`);
  } finally {
    forget();
  }
}
