import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A tree of many small files and one big one. */
export interface SampleTree {
  readonly folder: string;
  readonly smallFiles: number;
  readonly bigFileBytes: number;
}

const smallFileBytes = 2048;
const filesPerFolder = 100;
const mebibyte = 1024 * 1024;

/** Writes the tree; contents are random, so that nothing on the way can shrink them. */
export async function writeSampleTree(tree: SampleTree): Promise<void> {
  await mkdir(tree.folder);
  // First, so that it is old when it is looked at: a file changed within the last seconds has to be read again next time.
  await writeBigFile(join(tree.folder, 'big'), tree.bigFileBytes);
  for (let first = 0; first < tree.smallFiles; first += filesPerFolder) {
    await mkdir(join(tree.folder, folderOf(first)));
    for (let index = first; index < Math.min(first + filesPerFolder, tree.smallFiles); index++)
      await rewrite(tree, index);
  }
}

/** Gives one of a hundred of the small files new contents, spread over the tree; `turn` chooses which. */
export async function changeSampleTree(tree: SampleTree, turn: number): Promise<number> {
  let changed = 0;
  for (let index = turn % 100; index < tree.smallFiles; index += 100) {
    await rewrite(tree, index);
    changed++;
  }
  return changed;
}

async function rewrite(tree: SampleTree, index: number): Promise<void> {
  const contents = randomFillSync(Buffer.allocUnsafe(smallFileBytes));
  await writeFile(join(tree.folder, folderOf(index), `file-${index}`), contents);
}

function folderOf(index: number): string {
  return `folder-${Math.floor(index / filesPerFolder)}`;
}

async function writeBigFile(path: string, bytes: number): Promise<void> {
  const file = createWriteStream(path);
  for (let written = 0; written < bytes; written += mebibyte) {
    await write(file, randomFillSync(Buffer.allocUnsafe(Math.min(mebibyte, bytes - written))));
  }
  file.end();
  await once(file, 'close');
}

async function write(file: WriteStream, bytes: Buffer): Promise<void> {
  if (!file.write(bytes)) await once(file, 'drain');
}
