/**
 * How often a test repeats what it does: `usual`, or `few` under mutation testing (SNAPFERRY_FEW=1), where each test runs
 * hundreds of times and the bounds it is about are seen as well on a small scale.
 */
export function repetitions(usual: number, few: number): number {
  return process.env['SNAPFERRY_FEW'] === '1' ? few : usual;
}
