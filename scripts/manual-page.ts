import type { Argument, Command, Option } from 'commander';

/** A manual page. */
export interface ManualPage {
  /** Of its file: `snapferry-pull.1`. */
  readonly file: string;
  /** In the language of man(7), 7-bit ASCII. */
  readonly roff: string;
}

/** The pages of the whole program: one for it, and one for each command. Everything in them is what `--help` says. */
export function manualPages(program: Command, version: string): readonly ManualPage[] {
  const commands = visibleCommands(program);
  return [
    page(program, version, commands.map(pageName)),
    ...commands.map((command) => page(command, version, [program.name()])),
  ];
}

function page(command: Command, version: string, related: readonly string[]): ManualPage {
  const name = pageName(command);
  const isProgram = command.parent === null;
  const sections = [
    `.TH ${quoted(name.toUpperCase())} 1 "" ${quoted(`snapferry ${version}`)} "User Commands"`,
    section('Name', [`${escaped(name)} \\- ${escaped(command.summary() || command.description())}`]),
    section('Synopsis', [synopsis(command)]),
    section('Description', [escaped(command.description())]),
    ...(isProgram ? commandGroups(command) : []),
    ...usageSections(command, '.SH'),
    ...(isProgram ? [] : visibleCommands(command).map(subcommandSection)),
    ...afterSections(command),
    section('See also', [related.map((one) => `.BR ${escaped(one)} (1)`).join(',\n')]),
  ];
  return { file: `${name}.1`, roff: `${sections.join('\n')}\n` };
}

function pageName(command: Command): string {
  return [...ancestors(command), command.name()].join('-');
}

function ancestors(command: Command): readonly string[] {
  return command.parent === null ? [] : [...ancestors(command.parent), command.parent.name()];
}

function visibleCommands(command: Command): readonly Command[] {
  // `help` is no page of its own: it shows the same.
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((one) => one.name() !== 'help');
}

function synopsis(command: Command): string {
  return `.B ${escaped([...ancestors(command), command.name()].join(' '))}\n${escaped(command.usage())}`;
}

function commandGroups(program: Command): readonly string[] {
  const groups = new Map<string, Command[]>();
  for (const command of visibleCommands(program)) {
    const heading = command.helpGroup() || 'Commands:';
    groups.set(heading, [...(groups.get(heading) ?? []), command]);
  }
  return [...groups].map(([heading, commands]) =>
    section(
      heading.replace(/:$/, ''),
      commands.map((one) => item(`\\fB${escaped(pageName(one))}\\fR(1)`, one.summary())),
    ),
  );
}

/** A command below a command is part of its page. */
function subcommandSection(command: Command): string {
  return [
    section([...ancestors(command).slice(1), command.name()].join(' '), [
      synopsis(command),
      '.PP',
      escaped(command.description()),
    ]),
    ...usageSections(command, '.SS'),
    ...afterSections(command, '.SS'),
  ].join('\n');
}

/** Arguments, then options by the headings of the help. */
function usageSections(command: Command, level: '.SH' | '.SS'): readonly string[] {
  const help = command.createHelp();
  const args = help.visibleArguments(command);
  const groups = help.groupItems(
    [...command.options],
    help.visibleOptions(command),
    (option: Option) => option.helpGroupHeading ?? 'Options:',
  );
  return [
    ...(args.length === 0
      ? []
      : [
          section(
            'Arguments',
            args.map((one) => argumentItem(command, one)),
            level,
          ),
        ]),
    ...[...groups].map(([heading, options]) =>
      section(
        heading.replace(/:$/, ''),
        options.map((option) => item(optionTerm(option), help.optionDescription(option))),
        level,
      ),
    ),
  ];
}

function argumentItem(command: Command, argument: Argument): string {
  return item(`\\fI${escaped(argument.name())}\\fR`, command.createHelp().argumentDescription(argument));
}

/** The names bold, what stands for the value in italics. */
function optionTerm(option: Option): string {
  const [, names = '', value = ''] = /^(.*?)( ?[<[].*)?$/.exec(option.flags) ?? [];
  return `\\fB${escaped(names)}\\fR${value === '' ? '' : `\\fI${escaped(value)}\\fR`}`;
}

/** What stands below the options in the help: headings of our own, with lines that are to be left as they are. */
function afterSections(command: Command, level: '.SH' | '.SS' = '.SH'): readonly string[] {
  const blocks = helpAfter(command).split(/\n(?=\S)/);
  return blocks
    .map((block) => block.trim())
    .filter((block) => block !== '')
    .map((block) => {
      const [heading = '', ...lines] = block.split('\n');
      const body = lines.map((line) => escaped(line.replace(/^ {2}/, '')));
      return section(heading.replace(/:$/, ''), ['.nf', ...body, '.fi'], level);
    });
}

/** Texts that were added to the help can only be had by having it printed. */
function helpAfter(command: Command): string {
  let printed = '';
  const before = command.configureOutput();
  command.configureOutput({ ...before, writeOut: (text) => (printed += text), getOutHasColors: () => false });
  command.outputHelp();
  command.configureOutput(before);
  return printed.slice(printed.indexOf(command.helpInformation()) + command.helpInformation().length);
}

function section(heading: string, lines: readonly string[], level: '.SH' | '.SS' = '.SH'): string {
  return [`${level} ${quoted(level === '.SH' ? heading.toUpperCase() : heading)}`, ...lines].join('\n');
}

function item(term: string, text: string): string {
  return `.TP\n${term}\n${escaped(text)}`;
}

function quoted(text: string): string {
  return `"${escaped(text).replaceAll('"', '\\(dq')}"`;
}

/** Text as roff: no line of it can be a request, and what is not ASCII is named. */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/^(?=[.'])/gm, '\\&')
    .replaceAll(/[^\n\x20-\x7e]/gu, (one) => `\\[u${one.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}]`);
}
