/** One piece of work at a time: what it is, how to stop it, and the sentence when it fails. */

import { failure, said, working } from "../state";
import type { Working } from "../state";

let current: AbortController | null = null;

/** Runs `work`, after stopping what ran before it. Errors become the sentence that the page shows. */
export async function run(what: Working["what"], work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  current?.abort();
  const mine = new AbortController();
  current = mine;
  failure.value = null;
  working.value = { what, stop: () => mine.abort() };
  try {
    await work(mine.signal);
  } catch (error) {
    if (!mine.signal.aborted) fail(error);
  } finally {
    if (current === mine) {
      working.value = null;
      current = null;
    }
  }
}

export function fail(error: unknown): void {
  failure.value = error instanceof Error ? error.message : String(error);
}

/** Says something to those who listen to the page and do not see it. */
export function say(text: string): void {
  said.value = text;
}

export function later<T extends unknown[]>(ms: number, work: (...values: T) => void): (...values: T) => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), ms);
  };
}

/** `work` at once, and then at most every `ms`; the last call is never lost. */
export function seldom(ms: number, work: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let again = false;
  return function call(): void {
    if (timer) {
      again = true;
      return;
    }
    work();
    timer = setTimeout(() => {
      timer = null;
      if (again) {
        again = false;
        call();
      }
    }, ms);
  };
}
