import type { FileHandle } from 'node:fs/promises';
import { readHistoryLine } from './history-record.ts';
import type { HistoryRecord } from './history-record.ts';

/** A line of a history, read. */
export interface HistoryLine {
  /** From 1 on. */
  readonly number: number;
  /** As it is in the file, without a newline. */
  readonly bytes: Buffer;
  /** Null when it cannot be read. */
  readonly record: HistoryRecord | null;
  /** Why it cannot be read; null when it can. */
  readonly problem: string | null;
  /** Whether it ends with a newline. The last one may not: whoever wrote it was killed in the middle of it, or is writing. */
  readonly isWhole: boolean;
}

const newline = 0x0a;

/** Every line of an open file from its beginning, but for empty ones. The file stays open. */
export async function* historyLines(file: FileHandle): AsyncGenerator<HistoryLine> {
  let number = 0;
  for await (const { bytes, isWhole } of splitLines(file)) {
    number++;
    if (bytes.length > 0) yield { number, bytes, isWhole, ...understand(bytes, isWhole) };
  }
}

function understand(bytes: Buffer, isWhole: boolean): Pick<HistoryLine, 'record' | 'problem'> {
  try {
    const record = readHistoryLine(bytes.toString('utf8'));
    return { record, problem: null };
  } catch (error) {
    return { record: null, problem: isWhole ? (error as Error).message : 'whoever wrote it did not finish it' };
  }
}

/** Not `node:readline`: it also splits at U+2028, which JSON leaves as it is in names. */
async function* splitLines(file: FileHandle): AsyncGenerator<{ bytes: Buffer; isWhole: boolean }> {
  let pieces: Buffer[] = [];
  for await (const chunk of file.createReadStream({ start: 0, autoClose: false }) as AsyncIterable<Buffer>) {
    let begin = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, begin)) {
      yield { bytes: Buffer.concat([...pieces, chunk.subarray(begin, end)]), isWhole: true };
      pieces = [];
      begin = end + 1;
    }
    if (begin < chunk.length) pieces.push(chunk.subarray(begin));
  }
  if (pieces.length > 0) yield { bytes: Buffer.concat(pieces), isWhole: false };
}
