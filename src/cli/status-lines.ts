import type pc from 'picocolors';

/** Colours, or the want of them. */
export type Colours = ReturnType<typeof pc.createColors>;

/** How a piece of text is shown. */
export type Style = 'plain' | 'bold' | 'dim' | 'good' | 'warning' | 'bad';

/** A line of pieces in different styles. */
export type StatusLine = readonly (string | readonly [text: string, style: Style])[];

const segmenter = new Intl.Segmenter();

/** The line as text of at most so many characters, in colours or without. */
export function paintLine(line: StatusLine, colours: Colours, columns = Infinity): string {
  let left = columns;
  let painted = '';
  for (const piece of line) {
    const [text, style] = typeof piece === 'string' ? [piece, 'plain' as const] : piece;
    const characters = Array.from(segmenter.segment(text), ({ segment }) => segment);
    const shown = characters.length > left ? `${characters.slice(0, Math.max(0, left - 1)).join('')}…` : text;
    if (left > 0) painted += styled(shown, style, colours);
    left -= characters.length;
  }
  return painted.trimEnd();
}

function styled(text: string, style: Style, colours: Colours): string {
  switch (style) {
    case 'plain':
      return text;
    case 'bold':
      return colours.bold(text);
    case 'dim':
      return colours.dim(text);
    case 'good':
      return colours.green(text);
    case 'warning':
      return colours.yellow(text);
    case 'bad':
      return colours.red(text);
  }
}
