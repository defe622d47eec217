import { SnapferryError } from '../errors.ts';
import { exitCodes } from './exit-code.ts';

/** Ctrl-C and its relatives. */
export interface Interruption {
  /** Aborted with `CANCELLED` by the first signal. */
  readonly signal: AbortSignal;
  /** Stops listening for signals. */
  [Symbol.dispose](): void;
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Listens for the signals that end a program. The first aborts what is being done, so that it stops in a state that can
 * be resumed; the second leaves at once with exit code 130.
 * @param onFirst told the name of the first signal
 */
export function listenForInterruption(onFirst: (name: string) => void): Interruption {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    // A hard exit; children of ours are killed by their owners' exit hooks.
    if (controller.signal.aborted) process.exit(exitCodes.interrupted);
    onFirst(name);
    controller.abort(new SnapferryError('CANCELLED', `interrupted by ${name}`));
  };
  for (const name of signals) process.on(name, onSignal);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const name of signals) process.off(name, onSignal);
    },
  };
}
