import { SnapferryError } from '../../errors.ts';
import type { SendFlags } from './commands.ts';

/** How datasets are sent. */
export interface ZfsSendOptions {
  /**
   * Absent: encrypted datasets are sent raw, so that the copy is as unreadable as the original, others as they are. `true`: the
   * same, and what is not encrypted is refused. `false`: nothing is sent raw; encrypted datasets are decrypted, for which
   * their keys must be loaded, and arrive in the clear.
   */
  readonly encrypted?: boolean | undefined;
  /** `-w` for every dataset. Not with `encrypted: false`. */
  readonly raw?: boolean | undefined;
  /** `-L`: blocks over 128 KiB stay whole. Must not be switched off again for a dataset. */
  readonly largeBlocks?: boolean | undefined;
  /** `-e`: small blocks stay inside their pointers. */
  readonly embedded?: boolean | undefined;
  /** `-c`: compressed blocks stay compressed on the way. */
  readonly compressed?: boolean | undefined;
  /** `-p`: the dataset's properties go with it. Encrypted datasets must then be sent raw. */
  readonly properties?: boolean | undefined;
}

/** @throws RangeError for options that contradict each other */
export function checkSendOptions({ encrypted, raw }: ZfsSendOptions): void {
  if (raw === true && encrypted === false) {
    throw new RangeError(
      'send options contradict each other: raw keeps encrypted data encrypted, "encrypted: false" decrypts it',
    );
  }
}

/**
 * How a certain dataset is sent.
 * @throws SnapferryError `SOURCE_FAILED` if the options do not allow it to be sent at all
 */
export function sendFlagsFor(options: ZfsSendOptions, dataset: string, isEncrypted: boolean): SendFlags {
  const { encrypted, largeBlocks = false, embedded = false, compressed = false, properties = false } = options;
  if (encrypted === true && !isEncrypted) {
    throw new SnapferryError(
      'SOURCE_FAILED',
      `${dataset} is not encrypted, and this source sends nothing that is not ("encrypted: true"); leave the dataset out, ` +
        'or change the option',
    );
  }
  const raw = options.raw === true || (isEncrypted && encrypted !== false);
  if (isEncrypted && !raw && properties) {
    throw new SnapferryError(
      'SOURCE_FAILED',
      `${dataset} is encrypted, and ZFS sends its properties only raw; leave out "properties", or "encrypted: false"`,
    );
  }
  return { raw, largeBlocks, embedded, compressed, properties };
}
