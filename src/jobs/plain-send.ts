import type { SendSettings } from '../config/transfer-settings.ts';

/** For a source that is only listed. */
export const plainSend: SendSettings = {
  encrypted: null,
  raw: false,
  sendProperties: false,
  largeBlocks: false,
  compressed: false,
  embeddedData: false,
  bandwidthLimit: null,
};
