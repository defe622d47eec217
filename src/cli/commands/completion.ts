import type { Command } from 'commander';
import { configurationFileDefault } from '../../config/configuration.ts';
import { completionShells, formatCompletions, printCompletionScript } from '../completion-scripts.ts';
import { completionsFor } from '../completions.ts';
import type { Candidate } from '../completions.ts';
import { exitCodes } from '../exit-code.ts';
import { addExamples } from '../options.ts';
import { runCommand } from '../run.ts';

/** `snapferry completion bash|zsh|fish`, and what these scripts ask. */
export function configure(command: Command): void {
  for (const shell of completionShells) {
    command
      .command(shell)
      .summary(`print the completions for ${shell}`)
      .description(`Prints what ${shell} has to read to complete commands, options and names of jobs.`)
      .action(() =>
        runCommand({
          output: {},
          doing: `print the completions for ${shell}`,
          body(run) {
            printCompletionScript(shell, (text) => run.terminal.print(text));
            return Promise.resolve(exitCodes.done);
          },
        }),
      );
  }
  command
    .command('complete', { hidden: true })
    .description('Answers a shell that wants to know what may stand at the cursor.')
    .argument('[words...]', 'what was typed after the name of the program; the last word is the one to be completed')
    .action((words: readonly string[]) => answer(command, words));
  addExamples(command, [
    ['bash > ~/.local/share/bash-completion/completions/snapferry', 'for this user'],
    ['zsh > /usr/local/share/zsh/site-functions/_snapferry', 'for everybody'],
    ['fish | source', 'for this session'],
  ]);
}

async function answer(command: Command, words: readonly string[]): Promise<void> {
  const program = command.parent ?? command;
  const { loadConfiguration } = await import('../../config/load-configuration.ts');
  const jobsOf = (file: string | null): readonly Candidate[] => {
    try {
      const { jobs } = loadConfiguration(file === null ? configurationFileDefault : typedPath(file));
      return jobs.map(({ name, type, backend }) => ({ value: name, description: `${type}, ${backend}` }));
    } catch {
      // A person who presses Tab wants no error about a file; the command will have it.
      return [];
    }
  };
  process.stdout.write(formatCompletions(completionsFor(program, words, jobsOf)));
}

/** A path as the shell would have given it: what it hands to completions still has its quotes and its tilde. */
function typedPath(word: string): string {
  const bare = word.replace(/^(["'])(.*?)\1?$/, '$2');
  return bare === word ? word.replace(/^~(?=\/)/, process.env['HOME'] ?? '~') : bare;
}
