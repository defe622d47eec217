import { describe, expect, test } from 'vitest';
import { stringifyJSON, type JSONInput, type JSONValue } from '../../src/chunker/json-message.ts';
import { errorCodes, SnapferryError } from '../../src/errors.ts';
import * as messages from '../../src/rpc/messages.ts';

const id = Uint8Array.from({ length: 16 }, (_, at) => at);
const jsonOf = (value: JSONInput): unknown => JSON.parse(stringifyJSON(value));
/** As it comes out at the other end. */
const sent = (value: JSONInput): JSONValue => jsonOf(value) as JSONValue;

describe('decoding', () => {
  const bounds = { bytesMax: 64 * 1024, jsonDepthMax: 4 };
  const decode = (text: string, shape = (value: JSONValue): unknown => value, limits = bounds): unknown =>
    messages.decode(Buffer.from(text), 'the thing', limits, shape);

  test('names what could not be decoded, keeps the code, and wraps the cause', () => {
    const reading = (): unknown => decode('[1');
    expect(reading).toThrow('cannot decode the thing: malformed JSON at offset 2: expected "," or "]"');
    expect(reading).toThrow(
      expect.objectContaining({ code: 'PROTOCOL_VIOLATION', cause: expect.any(SnapferryError) as Error }) as Error,
    );
    expect(() => decode('[[[[[]]]]]')).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }) as Error);
    const fails = (): never => {
      throw new TypeError('no such shape');
    };
    const refusal = { code: 'PROTOCOL_VIOLATION', message: 'cannot decode the thing: no such shape' };
    expect(() => decode('1', fails)).toThrow(expect.objectContaining(refusal) as Error);
  });

  test('allows values by the size a message may have: one for 16 bytes, and 1024 at the least', () => {
    const list = (values: number): string =>
      `[${Array(values - 1)
        .fill(0)
        .join(',')}]`;
    for (const [bytesMax, valuesMax] of [
      [64 * 1024, 4096],
      [1024 * 1024, 65_536],
      [16, 1024],
      [16 * 1024, 1024],
    ] as const) {
      expect(decode(list(valuesMax), undefined, { bytesMax, jsonDepthMax: 4 })).toHaveLength(valuesMax - 1);
      expect(() => decode(list(valuesMax + 1), undefined, { bytesMax, jsonDepthMax: 4 })).toThrow(
        `more than the ${valuesMax} values allowed`,
      );
    }
  });
});

describe('a version', () => {
  const version = {
    type: 'snapshot',
    name: 'a',
    guid: 2n ** 64n - 1n,
    createTXG: 0n,
    creation: '2017-05-20T10:00:00Z',
  };

  test('has both numbers from 0 to 2^64-1', () => {
    expect(messages.encodeVersion(version)).toEqual({
      Type: 'snapshot',
      Name: 'a',
      Guid: 2n ** 64n - 1n,
      CreateTXG: 0n,
      Creation: '2017-05-20T10:00:00Z',
    });
    for (const bad of [-1n, 2n ** 64n]) {
      for (const field of ['guid', 'createTXG']) {
        const encoding = (): unknown => messages.encodeVersion({ ...version, [field]: bad });
        expect(encoding).toThrow(`version a: ${bad} is not an unsigned 64-bit integer`);
        expect(encoding).toThrow(expect.objectContaining({ code: 'INTERNAL' }) as Error);
      }
    }
  });

  test.each([
    ['0001-01-01T00:00:00Z', null],
    ['0001-01-01T00:00:00.000Z', null],
    ['0001-01-01T00:00:00+01:00', null],
    ['0001-01-01T00:00:00-23:59', null],
    ['0001-01-01T00:00:00.5Z', '0001-01-01T00:00:00.5Z'],
    ['0001-01-01T00:00:01Z', '0001-01-01T00:00:01Z'],
    ['x0001-01-01T00:00:00Z', 'x0001-01-01T00:00:00Z'],
    ['0001-01-01T00:00:00Zx', '0001-01-01T00:00:00Zx'],
    ['', null],
    ['2017-05-20T10:00:00.50+02:00', '2017-05-20T10:00:00.50+02:00'],
  ])('created at %j was created at %j', (creation, expected) => {
    expect(messages.decodeVersion({ Type: 't', Name: 'n', Guid: 1, CreateTXG: 2, Creation: creation })).toEqual({
      type: 't',
      name: 'n',
      guid: 1n,
      createTXG: 2n,
      creation: expected,
    });
  });

  test.each([
    [() => messages.decodeVersion({ Guid: -1 }), 'FilesystemVersion.Guid: expected an unsigned 64-bit integer, got -1'],
    [() => messages.decodeVersions('x'), 'list of versions: expected a list, got x'],
    [() => messages.decodePaths('x'), 'list of filesystems: expected a list, got x'],
    [() => messages.decodePaths([[1]]), 'filesystem: expected a list of strings, got 1'],
    [
      () => messages.decodeRequestHeader({ Type: 256 }),
      'RequestHeader.Type: expected an integer from 0 to 255, got 256',
    ],
    [() => messages.decodeRequestHeader({ Upload: 1 }), 'RequestHeader.Upload: expected true or false, got 1'],
    [
      () => messages.decodeResponseHeader({ ResponseType: 256 }),
      'ResponseHeader.ResponseType: expected an integer from 0 to 255, got 256',
    ],
    [
      () => messages.decodeResponseHeader({ ErrorId: 256 }),
      'ResponseHeader.ErrorId: expected an integer from 0 to 255, got 256',
    ],
    [
      () => messages.decodeTrailer({ Bytes: -1 }),
      `Trailer.Bytes: expected an integer from 0 to ${Number.MAX_SAFE_INTEGER}, got -1`,
    ],
    [() => messages.decodeTrailer({ Digest: 1 }), 'Trailer.Digest: expected an object, got 1'],
    [() => messages.decodeReport({ Filesystems: [{ Ok: 1 }] }), 'Report.Ok: expected true or false, got 1'],
    [() => messages.decodeReport(1), 'Report: expected an object, got 1'],
    [() => messages.decodeFinishedError(1), 'Error: expected an object, got 1'],
    [() => messages.decodeControl(1), 'control chunk: expected an object, got 1'],
    [() => messages.decodeControl({ Progress: 1 }), 'Progress: expected an object, got 1'],
  ])('and everything else is refused by its name (%#)', (decoding, message) => {
    expect(decoding).toThrow(message);
  });
});

describe('an error on the wire', () => {
  test.each(errorCodes)('%s keeps its code, its text and whether to retry', (code) => {
    for (const retryable of [true, false]) {
      const wire = messages.encodeError(new SnapferryError(code, 'why', { retryable }));
      expect(wire).toMatchObject({ message: 'why', code, retryable });
      expect(wire.errorId).toBe(code === 'GOODBYE' ? 6 : code === 'CANCELLED' ? 7 : 5);
      const back = messages.errorFromWire(wire, 'asking');
      expect(back).toMatchObject({ code, message: 'asking: why', retryable, fromPeer: true, connectionDead: false });
    }
  });

  test.each([
    [1, 'PROTOCOL_VIOLATION'],
    [2, 'UNKNOWN_REQUEST'],
    [3, 'INVALID_REQUEST'],
    [4, 'PROTOCOL_VERSION'],
    [5, 'INTERNAL'],
    [6, 'GOODBYE'],
    [7, 'CANCELLED'],
    [99, 'INTERNAL'],
  ])('without a code, %i is %s, and retryable as that is', (errorId, code) => {
    const wire = { errorId, message: '', code: null, retryable: null };
    const error = messages.errorFromWire(wire, 'asking');
    expect(error).toMatchObject({ code, message: 'asking: the peer gave no reason', retryable: code === 'GOODBYE' });
  });

  test('has all of a text up to 4096 characters, and the beginning and the end of a longer one', () => {
    const textOf = (message: string): string => messages.encodeError(new SnapferryError('INTERNAL', message)).message;
    const fits = `${'a'.repeat(2048)}${'b'.repeat(2048)}`;
    expect(textOf(fits)).toBe(fits);
    expect(textOf(`${fits}c`)).toBe(`${'a'.repeat(1024)} […] ${'b'.repeat(2047)}c`);
  });

  test('of somebody else is told without its text', () => {
    const own = new SnapferryError('BUSY', 'mine');
    expect(messages.tellable(own, 'INTERNAL', 'the pull')).toBe(own);
    const secret = new Error('/home/me/.secret');
    expect(messages.tellable(secret, 'SOURCE_FAILED', 'the pull')).toMatchObject({
      code: 'SOURCE_FAILED',
      message: 'the pull failed; the log of the side that was asked says why',
      cause: secret,
    });
    const aborted = new DOMException('This operation was aborted', 'AbortError');
    expect(messages.tellable(aborted, 'INTERNAL', 'the pull').code).toBe('CANCELLED');
  });
});

describe('a response header', () => {
  const plain = { requestId: id, errorId: 0, message: '', code: null, retryable: null, responseType: 1 };
  const failed = { ...plain, errorId: 5, message: 'no', code: 'BUSY', retryable: true, responseType: 0 } as const;
  const transfer = { ...plain, responseType: 0x20, streamFormat: 'zfs', estimatedBytes: 5, resumed: true };
  const base = { RequestId: [...id], ErrorId: 0, Message: '', ResponseType: 1 };

  test('has in version 1 only what version 1 has', () => {
    expect(jsonOf(messages.encodeResponseHeader(plain, 1))).toEqual(base);
    expect(jsonOf(messages.encodeResponseHeader(failed, 1))).toEqual({
      ...base,
      ErrorId: 5,
      Message: 'no',
      ResponseType: 0,
    });
    expect(jsonOf(messages.encodeResponseHeader(transfer, 1))).toEqual({ ...base, ResponseType: 0x20 });
  });

  test('has in version 2 a code beside an error, and what a transfer is', () => {
    expect(jsonOf(messages.encodeResponseHeader({ ...plain, code: 'BUSY', retryable: true }, 2))).toEqual(base);
    const error = { ...base, ErrorId: 5, Message: 'no', ResponseType: 0 };
    expect(jsonOf(messages.encodeResponseHeader(failed, 2))).toEqual({ ...error, Code: 'BUSY', Retryable: true });
    expect(jsonOf(messages.encodeResponseHeader({ ...failed, code: null, retryable: null }, 2))).toEqual(error);
    const fields = { StreamFormat: 'zfs', EstimatedBytes: 5, Resumed: true };
    expect(jsonOf(messages.encodeResponseHeader(transfer, 2))).toEqual({ ...base, ResponseType: 0x20, ...fields });
    expect(jsonOf(messages.encodeResponseHeader({ ...plain, streamFormat: null }, 2))).toEqual({
      ...base,
      StreamFormat: null,
      EstimatedBytes: null,
      Resumed: false,
    });
  });

  test.each([plain, failed, transfer])('comes back as it was (%#)', (header) => {
    const none = { streamFormat: null, estimatedBytes: null, resumed: false };
    expect(messages.decodeResponseHeader(sent(messages.encodeResponseHeader(header, 2)))).toEqual({
      ...none,
      ...header,
    });
  });

  test('with a code nobody knows has none', () => {
    expect(messages.decodeResponseHeader({ ErrorId: 5, Code: 'NEWER', Retryable: false })).toMatchObject({
      code: null,
      retryable: false,
    });
  });
});

describe('what comes back as it was', () => {
  const okay = { errorId: 0, message: '', code: null, retryable: null };
  const error = { errorId: 5, message: 'no', code: 'SOURCE_FAILED', retryable: false } as const;

  test.each([
    { ...okay, bytes: 5, digest: { algorithm: 'xxh64', value: 'abc' } },
    { ...error, bytes: 0, digest: null },
  ])('a trailer (%#)', (trailer) => {
    expect(messages.decodeTrailer(sent(messages.encodeTrailer(trailer)))).toEqual(trailer);
  });

  test('a trailer names nothing it has not', () => {
    expect(jsonOf(messages.encodeTrailer({ ...okay, bytes: 5, digest: null }))).toEqual({
      ErrorId: 0,
      Message: '',
      Bytes: 5,
      Digest: null,
    });
  });

  test.each([
    { type: 0x80, id, upload: true },
    { type: 0, id, upload: false },
  ])('a request header (%#)', (header) => {
    const json = jsonOf(messages.encodeRequestHeader(header));
    expect(json).toEqual({ Type: header.type, Id: [...id], ...(header.upload ? { Upload: true } : {}) });
    expect(messages.decodeRequestHeader(json as JSONValue)).toEqual(header);
  });

  test('a report', () => {
    const good = {
      filesystem: ['a', 'b'],
      ok: true,
      code: null,
      message: '',
      notices: ['n'],
      missing: [],
      bytes: 5,
      steps: 2,
    };
    const bad = { ...good, ok: false, code: 'NEWER', message: 'no', notices: [], missing: ['m'] };
    const report = { filesystems: [good, bad] };
    expect(messages.decodeReport(sent(messages.encodeReport(report)))).toEqual(report);
  });

  test('the error of a pull', () => {
    const wire = sent(messages.encodeFinishedError(new SnapferryError('BUSY', 'later')));
    expect(messages.decodeFinishedError(wire)).toEqual({ errorId: 5, message: 'later', code: 'BUSY', retryable: true });
  });

  test.each([
    { message: 'm', done: 1, total: 2 },
    { message: '', done: 0, total: null },
  ])('progress (%#)', (progress) => {
    expect(messages.decodeControl(sent(messages.encodeProgress(progress)))).toEqual({ progress, cancel: null });
  });

  test.each([-1, 1.5, Number.NaN, Infinity, 2 ** 53])('progress, but %d is no count and unknown', (value) => {
    const wire = jsonOf(messages.encodeProgress({ message: 'm', done: value, total: value }));
    expect(wire).toEqual({ Progress: { Message: 'm', Done: null, Total: null } });
  });

  test('a cancel, and it comes before progress; what is neither is nothing', () => {
    expect(messages.decodeControl(sent(messages.encodeCancel(id)))).toEqual({ progress: null, cancel: id });
    expect(messages.decodeControl({ Cancel: [...id], Progress: {} })).toEqual({ progress: null, cancel: id });
    expect(messages.decodeControl({ Other: 1 })).toEqual({ progress: null, cancel: null });
  });
});
