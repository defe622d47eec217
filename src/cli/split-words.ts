import { UsageError } from './usage-error.ts';

const bareWord = /[A-Za-z0-9_./:@%+=,^~-]+/y;
const quotedPart = /'([^']*)'/y;
const escapedQuote = /\\'/y;

/**
 * Splits a command line into words as a POSIX shell would, for the small part of its language that is free of surprises:
 * words of harmless characters, `'quoted parts'` and `\'`, separated by spaces. Whatever a shell would expand, redirect or
 * chain is refused, so a line that is accepted means the same here and there. It is what this program writes when
 * it starts itself over ssh.
 * @param what what the line is, for the error
 * @throws UsageError
 */
export function splitWords(line: string, what: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let index = 0;
  while (index < line.length) {
    const character = line.charAt(index);
    if (character === ' ') {
      if (word !== null) words.push(word);
      word = null;
      index += 1;
      continue;
    }
    const part =
      matchAt(bareWord, line, index) ?? matchAt(quotedPart, line, index) ?? matchAt(escapedQuote, line, index);
    if (part === null) {
      const found = character === "'" ? 'a quote that is not closed' : `${JSON.stringify(character)} outside quotes`;
      throw new UsageError(`${what} has ${found} at position ${index + 1}: ${JSON.stringify(line.slice(0, 1000))}`);
    }
    // A tilde is a home directory to a shell, but only where a word begins.
    if (word === null && part.text.startsWith('~')) {
      throw new UsageError(`${what} has "~" outside quotes at position ${index + 1}`);
    }
    word = (word ?? '') + (part.captured ?? (part.text === "\\'" ? "'" : part.text));
    index += part.text.length;
  }
  if (word !== null) words.push(word);
  return words;
}

function matchAt(pattern: RegExp, line: string, index: number): { text: string; captured: string | undefined } | null {
  pattern.lastIndex = index;
  const match = pattern.exec(line);
  return match === null ? null : { text: match[0], captured: match[1] };
}
