/** Calls `onLine` with each line of what it is given, piece by piece, without its newline. */
export function lineSplitter(onLine: (line: string) => void): (piece: Buffer) => void {
  let begun = '';
  return (piece) => {
    const text = begun + piece.toString('latin1');
    let start = 0;
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', start)) {
      onLine(text.slice(start, end));
      start = end + 1;
    }
    begun = text.slice(start);
  };
}
