import { seededBytes } from './recorded.ts';
import { memoryBackend, type MemoryBackend } from './memory-backend.ts';

/** About how many bytes a pull of everything takes. */
export const faultSourceBytes = 250_000;

/** Datasets that are the same in every process. */
export function faultSource(prefix = 'src'): MemoryBackend {
  let guid = BigInt(`0x${Buffer.from(prefix).toString('hex')}`) << 8n;
  const backend = memoryBackend(() => ++guid);
  for (const [name, sizes] of [
    ['a', [100_000, 10, 50_000]],
    ['b', [0, 70_000]],
    ['b/c', [30_000]],
  ] as const) {
    for (const [index, bytes] of sizes.entries()) {
      backend.snapshot(`${prefix}/${name}`, `s${index}`, seededBytes(`${prefix}/${name}${index}`, bytes));
    }
  }
  return backend;
}
