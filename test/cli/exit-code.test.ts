import { describe, expect, it } from 'vitest';
import { exitCodeOf, exitCodeOfResults, exitCodes } from '../../src/cli/exit-code.ts';
import { errorCodes, SnapferryError } from '../../src/errors.ts';
import type { FilesystemResult } from '../../src/rpc/interfaces.ts';

const result = (fields: Partial<FilesystemResult>): FilesystemResult => ({
  filesystem: ['a'],
  ok: true,
  code: null,
  message: '',
  notices: [],
  missing: [],
  bytes: 0,
  steps: 0,
  ...fields,
});

describe('exitCodeOf', () => {
  it('has a documented code, never 0, for every error code of the library (scenario 21)', () => {
    const table = Object.fromEntries(errorCodes.map((code) => [code, exitCodeOf(new SnapferryError(code, ''))]));
    expect(table).toMatchInlineSnapshot(`
      {
        "ACCESS_DENIED": 1,
        "BUSY": 75,
        "CANCELLED": 1,
        "CONNECTION_LOST": 75,
        "CONNECT_FAILED": 75,
        "DATASET_NOT_FOUND": 1,
        "DIGEST_MISMATCH": 1,
        "GOODBYE": 75,
        "INTERNAL": 1,
        "INVALID_REQUEST": 1,
        "LIMIT_EXCEEDED": 1,
        "PEER_SILENT": 75,
        "PROTOCOL_VERSION": 1,
        "PROTOCOL_VIOLATION": 1,
        "RESUME_TOKEN_INVALID": 1,
        "SOURCE_FAILED": 1,
        "STREAM_FORMAT_MISMATCH": 1,
        "STREAM_TRUNCATED": 75,
        "TIMEOUT": 75,
        "UNKNOWN_REQUEST": 1,
        "VERSION_NOT_FOUND": 1,
      }
    `);
  });

  it('believes an error that knows whether a retry helps', () => {
    expect(exitCodeOf(new SnapferryError('CONNECT_FAILED', '', { retryable: false }))).toBe(1);
    expect(exitCodeOf(new SnapferryError('SOURCE_FAILED', '', { retryable: true }))).toBe(75);
  });

  it('takes usage and configuration for 2 and an unknown code for 1', () => {
    expect(exitCodeOf({ code: 'USAGE' })).toBe(2);
    expect(exitCodeOf({ code: 'CONFIGURATION', retryable: true })).toBe(2);
    expect(exitCodeOf({ code: 'SOMETHING_NEW' })).toBe(1);
    expect(exitCodeOf({ code: 'toString' })).toBe(1);
    expect(exitCodeOf({ code: null })).toBe(1);
  });
});

describe('exitCodeOfResults', () => {
  it('is 0 when all went well', () => {
    expect(exitCodeOfResults([])).toBe(exitCodes.done);
    expect(exitCodeOfResults([result({}), result({ steps: 2 })])).toBe(exitCodes.done);
  });

  it('is 3 when some failed, or something was committed that lacks files', () => {
    expect(exitCodeOfResults([result({}), result({ ok: false, code: 'BUSY' })])).toBe(exitCodes.incomplete);
    expect(exitCodeOfResults([result({ ok: false, code: 'SOURCE_FAILED', steps: 1, missing: ['x'] })])).toBe(3);
    expect(exitCodeOfResults([result({ ok: false, code: 'CONNECTION_LOST', steps: 1 })])).toBe(3);
  });

  it('is the failure’s own when nothing worked', () => {
    expect(exitCodeOfResults([result({ ok: false, code: 'BUSY' })])).toBe(exitCodes.tryAgainLater);
    expect(exitCodeOfResults([result({ ok: false, code: 'ACCESS_DENIED' })])).toBe(exitCodes.failed);
  });
});
