import { expect } from 'vitest';
import type { Machine } from '../support/machines.ts';
import { readQuickstart } from './read-quickstart.ts';

/** Who plays a quickstart. */
export interface Player {
  readonly machine: Machine;
  /** Who types. Default root. */
  readonly user?: string;
}

/**
 * Does what a quickstart says, word for word. The one thing that is not typed as it is written is `…` in commands: there the reader
 * pastes what the last `cat` printed.
 */
export async function playQuickstart(name: string, players: Readonly<Record<string, Player>>): Promise<void> {
  let printed = '';
  let pasted: string | null = null;
  for (const step of readQuickstart(name)) {
    const player = players[step.machine];
    if (player === undefined) throw new Error(`${name}.md speaks of a machine ${step.machine}`);
    const { machine, user } = player;
    switch (step.kind) {
      case 'write':
        await machine.write(step.path.replace('~', await homeOf(player)), step.text, 0o644, user);
        break;
      case 'run': {
        if (step.script.includes('…') && pasted === null)
          throw new Error(`line ${step.line}: there is nothing to paste`);
        printed = await machine.mustRun(step.script.replaceAll('…', pasted?.trimEnd() ?? ''), user);
        if (/^cat [^<>|]+$/m.test(step.script)) pasted = printed;
        break;
      }
      case 'see':
        for (const line of step.lines) expect(printed, `${name}.md, line ${step.line}`).toMatch(patternOf(line));
        break;
    }
  }
}

async function homeOf({ machine, user }: Player): Promise<string> {
  return (await machine.mustRun('printf %s "$HOME"', user)).trim();
}

/** Runs of space may differ, as columns have the width of their contents. */
function patternOf(line: string): RegExp {
  const parts = line.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/ +/g, ' +'));
  return new RegExp(`^ *${parts.join('.*')} *$`, 'm');
}
