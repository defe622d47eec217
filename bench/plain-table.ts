import Table from 'cli-table3';

const noBorders = {
  ...{ top: '', 'top-mid': '', 'top-left': '', 'top-right': '' },
  ...{ bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '' },
  ...{ left: '', 'left-mid': '', mid: '', 'mid-mid': '' },
  ...{ right: '', 'right-mid': '', middle: '  ' },
};

/** A table without lines and colours, its first column to the left and the others to the right. */
export function plainTable(head: string[], rows: readonly string[][]): string {
  const made = new Table({
    head,
    colAligns: head.map((_, index) => (index === 0 ? 'left' : 'right')),
    chars: noBorders,
    style: { head: [], border: [], 'padding-left': 1, 'padding-right': 0 },
  });
  made.push(...rows);
  return made.toString();
}
