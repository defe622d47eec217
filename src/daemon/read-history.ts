import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { toSnapferryError } from '../errors.ts';
import { emptyHistoryFold, foldHistory } from './history-fold.ts';
import type { HistoryFold } from './history-fold.ts';
import { historyLines } from './history-lines.ts';

/** What {@link readHistory} finds. */
export interface ReadHistory {
  readonly fold: HistoryFold;
  /** Lines that could not be read, and why. */
  readonly notices: readonly string[];
}

/** So many are named one by one. */
const noticesMax = 10;

/** The file of the history in a state directory. */
export function historyPath(stateDir: string): string {
  return join(stateDir, 'history.ndjson');
}

/**
 * Reads the history of runs and changes nothing: for whoever looks while no daemon runs, or beside one. Where there is none, it is
 * empty.
 * @throws SnapferryError `ACCESS_DENIED` or `INTERNAL` when there is one and it cannot be opened
 */
export async function readHistory(stateDir: string): Promise<ReadHistory> {
  const path = historyPath(stateDir);
  const fold = emptyHistoryFold();
  const file = await openIfThere(path);
  if (file === null) return { fold, notices: [] };
  const notices: string[] = [];
  let unreadable = 0;
  try {
    for await (const { number, record, problem } of historyLines(file)) {
      if (record !== null) foldHistory(fold, record);
      else if (++unreadable <= noticesMax) notices.push(`line ${number} of ${path} cannot be read: ${problem ?? ''}`);
    }
  } catch (error) {
    throw toSnapferryError(error, 'INTERNAL', `read the history of runs ${path}`);
  } finally {
    await file.close();
  }
  if (unreadable > noticesMax) notices.push(`${unreadable - noticesMax} more lines of ${path} cannot be read`);
  return { fold, notices };
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'r');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    throw toSnapferryError(error, code === 'EACCES' ? 'ACCESS_DENIED' : 'INTERNAL', `open the history of runs ${path}`);
  }
}
