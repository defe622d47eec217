import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { manualPages } from '../../scripts/manual-page.ts';
import { commandTable } from '../../src/cli/command-table.ts';
import { createProgram } from '../../src/cli/program.ts';
import { describePlatform, missingPrograms } from '../support/platform.ts';

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
  version: string;
};
const program = await createProgram();
const pages = manualPages(program, version);

/** The command and all below it that a user can see. */
function family(command: Command): readonly Command[] {
  return [
    command,
    ...command
      .createHelp()
      .visibleCommands(command)
      .filter((one) => one.name() !== 'help')
      .flatMap(family),
  ];
}

function pageOf(name: string): string {
  const page = pages.find(({ file }) => file === `${name}.1`);
  if (page === undefined) throw new Error(`there is no page ${name}.1`);
  return page.roff;
}

/** As roff has it. */
const asRoff = (text: string): string => text.replaceAll('-', '\\-');

describe('what is in the pages', () => {
  test('one for the program, which names all others, and one for each command', () => {
    expect(pages.map(({ file }) => file).sort()).toEqual(
      ['snapferry.1', ...commandTable.map(({ name }) => `snapferry-${name}.1`)].sort(),
    );
    for (const { name, summary } of commandTable) {
      expect(pageOf('snapferry')).toContain(`.TP\n\\fBsnapferry\\-${name}\\fR(1)\n${asRoff(summary)}\n`);
    }
    for (const heading of ['LOCATIONS', 'EXAMPLES', 'EXIT CODES'])
      expect(pageOf('snapferry')).toContain(`.SH "${heading}"`);
  });

  test.each(commandTable.map(({ name }) => name))('%s: every argument and option, and the examples', (name) => {
    const roff = pageOf(`snapferry-${name}`);
    const command = program.commands.find((one) => one.name() === name)!;
    for (const one of family(command)) {
      const help = one.createHelp();
      for (const { short, long } of help.visibleOptions(one)) {
        const names = [short, long].filter((flag) => flag !== undefined).join(', ');
        expect(roff).toContain(`.TP\n\\fB${asRoff(names)}\\fR`);
      }
      for (const argument of help.visibleArguments(one))
        expect(roff).toContain(`.TP\n\\fI${asRoff(argument.name())}\\fR`);
    }
    expect(roff).toMatch(/^\.SH "EXAMPLES"\n\.nf\n# .+\nsnapferry /m);
    expect(roff).toContain('.BR snapferry (1)');
  });

  test('a text cannot be taken for a request, and is ASCII', () => {
    const odd = new Command('odd').description(".SH no heading\n'no request \\fBnot bold\\fR – “ok”").exitOverride();
    const [page] = manualPages(odd, '1');
    expect(page!.roff).toContain(
      "\n\\&.SH no heading\n\\&'no request \\efBnot bold\\efR \\[u2013] \\[u201C]ok\\[u201D]\n",
    );
    for (const { roff } of pages) expect(roff).toMatch(/^[\n\x20-\x7e]*$/);
  });
});

describePlatform('what groff makes of the pages', missingPrograms(['groff'], 'groff-base'), () => {
  test.each(pages.map(({ file, roff }) => [file, roff] as const))('%s', (_file, roff) => {
    const { stdout, stderr } = spawnSync('groff', ['-man', '-Tutf8', '-ww', '-P-cbou'], {
      input: roff,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^SYNOPSIS\n {7}snapferry\b/m);
  });
});
