import type { FilesystemVersion } from '../../src/dataset.ts';

/**
 * A history in short: `@a,1 #b,2` is the snapshot a with createTXG 1 and the bookmark b with createTXG 2. Equal names
 * have equal guids, unless a third field gives the guid: `@a,1,7`. A type other than `@` and `#` is `?` (unknown).
 */
export function history(text: string): FilesystemVersion[] {
  return text
    .split(' ')
    .filter((word) => word !== '')
    .map((word) => {
      const [name = '', createTXG = '0', guid] = word.slice(1).split(',');
      return {
        type: word.startsWith('@') ? 'snapshot' : word.startsWith('#') ? 'bookmark' : 'hologram',
        name,
        guid: guid === undefined ? BigInt(`0x${Buffer.from(name).toString('hex')}`) : BigInt(guid),
        createTXG: BigInt(createTXG),
        creation: null,
      };
    });
}
