import type { SnapferryError } from '../errors.ts';
import { abortError, onAbort } from './aborting.ts';

/** A place in the order of answers. */
export interface Turn {
  /** Resolves when every answer before this one has been read; null when there is none before it. */
  readonly ready: Promise<void> | null;
  /** Lets the next one read. Idempotent. */
  readonly release: () => void;
}

/** Who wants a turn. */
export interface TurnRequest {
  /** Nothing may be written behind it until it is released. */
  readonly exclusive: boolean;
  /** It is not written before all others are over. */
  readonly alone?: boolean | undefined;
  /** Writes the request. Called at the very moment the turn is taken, so that writes and turns have one order. */
  readonly begin: () => void;
  readonly signal: AbortSignal | undefined;
  /** For messages. */
  readonly doing: string;
}

interface Waiter {
  readonly request: TurnRequest;
  readonly admit: (turn: Turn) => void;
  readonly reject: (error: SnapferryError) => void;
}

/**
 * Orders the requests of one side: answers are read in the order in which requests were written, at most `aheadMax` are
 * under way, and nothing is written behind an exclusive one (a transfer, a PullMe, a Close) until it is over.
 */
export class TurnQueue {
  readonly #aheadMax: number;
  #last: Promise<void> = Promise.resolve();
  #underWay = 0;
  #isExclusive = false;
  #waiting: Waiter[] = [];
  #failure: SnapferryError | null = null;

  constructor(aheadMax: number) {
    this.#aheadMax = aheadMax;
  }

  /**
   * Has the request written: at once where that is possible, otherwise the result resolves when it has been. Those who wait
   * are let in in the order they came.
   * @throws SnapferryError `CANCELLED`, or what killed the connection; nothing was written then
   */
  enter(request: TurnRequest): Turn | Promise<Turn> {
    if (this.#failure !== null) throw this.#failure;
    if (request.signal?.aborted === true) throw abortError(request.signal, request.doing);
    return this.#isFull(request) || this.#waiting.length > 0 ? this.#wait(request) : this.#take(request);
  }

  /** The connection is dead: whoever waits or comes later is rejected with its cause. */
  fail(failure: SnapferryError): void {
    this.#failure = failure;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(failure);
  }

  /** Whether no request is under way or waits. */
  get isIdle(): boolean {
    return this.#underWay === 0 && this.#waiting.length === 0;
  }

  #isFull({ alone }: TurnRequest): boolean {
    return this.#isExclusive || this.#underWay >= (alone === true ? 1 : this.#aheadMax);
  }

  #take(request: TurnRequest): Turn {
    const ready = this.#underWay === 0 ? null : this.#last;
    this.#underWay++;
    this.#isExclusive = request.exclusive;
    let isReleased = false;
    let resolveLast: () => void = () => undefined;
    this.#last = new Promise((resolve) => (resolveLast = resolve));
    const release = (): void => {
      if (isReleased) return;
      isReleased = true;
      resolveLast();
      this.#underWay--;
      if (request.exclusive) this.#isExclusive = false;
      this.#admit();
    };
    request.begin();
    return { ready, release };
  }

  #admit(): void {
    for (;;) {
      const waiter = this.#waiting[0];
      if (waiter === undefined || this.#isFull(waiter.request)) return;
      this.#waiting.shift();
      waiter.admit(this.#take(waiter.request));
    }
  }

  #wait(request: TurnRequest): Promise<Turn> {
    const { signal, doing } = request;
    return new Promise((resolve, reject) => {
      const stopListening = onAbort(signal === undefined ? [] : [signal], () => {
        this.#waiting = this.#waiting.filter((other) => other !== waiter);
        reject(abortError(signal, doing));
        // One that waits to be alone may have held up others.
        this.#admit();
      });
      const waiter: Waiter = {
        request,
        admit: (turn) => {
          stopListening();
          resolve(turn);
        },
        reject: (error) => {
          stopListening();
          reject(error);
        },
      };
      this.#waiting.push(waiter);
    });
  }
}
