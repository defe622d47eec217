import { ShellCompDirective, script } from '@bomb.sh/tab';
import type { Completions } from './completions.ts';

/** The shells that are given completions. */
export const completionShells = ['bash', 'zsh', 'fish'] as const;

/** One of {@link completionShells}. */
export type CompletionShell = (typeof completionShells)[number];

/** What the scripts call to learn what may stand at the cursor. */
const asked = 'snapferry completion';

/**
 * Prints what a shell has to read to complete the command lines of snapferry. Those of zsh and fish are made by a library, which prints
 * them itself. Its script for bash hands what was typed to `eval`, so that `snapferry list $(reboot)` and a press of Tab would do just that, never
 * offers files, and sets read-only globals that clash with those of other programs; so that one is ours.
 */
export function printCompletionScript(shell: CompletionShell, print: (text: string) => void): void {
  if (shell === 'bash') print(bashScript);
  else script(shell, 'snapferry', asked);
}

/** The answer the scripts understand: a line for each candidate, and one that says what else the shell may offer. */
export function formatCompletions({ candidates, files }: Completions): string {
  const { ShellCompDirectiveDefault, ShellCompDirectiveNoFileComp } = ShellCompDirective;
  const lines = candidates.map(({ value, description }) => `${value}\t${description.replaceAll(/\s+/g, ' ')}`);
  return [...lines, `:${files ? ShellCompDirectiveDefault : ShellCompDirectiveNoFileComp}`, ''].join('\n');
}

/** Bash splits words at colons and equals signs, too: the pieces are put together again for the program, and its answer is cut to the last piece. */
const bashScript = `# bash completion for snapferry

_snapferry() {
    local rest=$COMP_LINE piece blank typed lead line
    local -a words=() answer=()
    for piece in "\${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        blank=\${rest%%"$piece"*}
        if [[ -z $piece || -n $blank || \${#words[@]} -eq 0 ]]; then
            words+=("$piece")
        else
            words[-1]+=$piece
        fi
        rest=\${rest#"$blank$piece"}
    done
    typed=\${words[-1]}
    lead=$typed
    [[ $piece == [:=@] ]] || lead=\${typed%"$piece"}

    mapfile -t answer < <(${asked} complete -- "\${words[@]:1}" 2>/dev/null)
    COMPREPLY=()
    for line in "\${answer[@]}"; do
        case $line in
            :${ShellCompDirective.ShellCompDirectiveNoFileComp}) compopt +o default +o bashdefault ;;
            :*) ;;
            *)
                line=\${line%%$'\\t'*}
                COMPREPLY+=("\${line#"$lead"}")
                ;;
        esac
    done
}

complete -o bashdefault -o default -F _snapferry snapferry
`;
