/** Looking at a view: a coarse answer at once, then the exact one in its place. */

import { batch } from "@preact/signals";
import { json } from "../api";
import { duration, t } from "../i18n";
import { seen } from "../map/map";
import * as state from "../state";
import type { Bounds, Checked, View } from "../types";
import { later, run, say } from "./run";

export function viewBounds(): Bounds | null {
  const source = state.source.value;
  return source && seen.value ? state.overlap(seen.value, source.bounds) : null;
}

function take(view: View): void {
  batch(() => {
    state.result.value = null;
    state.resultHistogram.value = null;
    state.view.value = view;
  });
}

/** Asks for the view on the map, or for `bounds`. */
export async function look(bounds: Bounds | null = viewBounds()): Promise<void> {
  const source = state.source.value;
  if (!source) return;
  if (!bounds) {
    state.failure.value = t("look.outside");
    return;
  }
  if (!state.words.value.length) {
    state.failure.value = t("look.no_words");
    return;
  }
  await run("view", async (signal) => {
    const body = { source: source.id, bounds, words: state.words.value, taught: state.taught.value?.taught ?? null };
    state.found.value = null;
    const coarse = await json<View>("/api/views", { body: { ...body, fast: true }, signal });
    take(coarse);
    if (!coarse.fast) return;
    if (state.working.value) state.working.value = { ...state.working.value, what: "exact" };
    const exact = await json<View>("/api/views", { body: { ...body, fast: false }, signal });
    take(exact);
    say(t("look.done", { time: duration(exact.seconds) }));
  });
}

/** What the server knows of the words before any run. */
export const checkWords = later(250, () => void check());

async function check(): Promise<void> {
  const words = state.words.value;
  if (!words.length) {
    state.checked.value = null;
    return;
  }
  try {
    const source = state.source.value?.id;
    const answer = await json<Checked>("/api/words/check", { body: source ? { source, words } : { words } });
    if (words === state.words.value) state.checked.value = answer;
  } catch (error) {
    state.checked.value = null;
    state.failure.value = error instanceof Error ? error.message : String(error);
  }
}

/** Other words: what was counted by the earlier ones goes. */
function change(words: string[]): void {
  state.words.value = words;
  if (state.found.value?.kind === "count") state.found.value = null;
  checkWords();
}

export function addWords(text: string): void {
  const chips = text
    .split(/[;；\n]/)
    .map((chip) => chip.split(/[,，、]/).map((name) => name.trim()).filter(Boolean).join(","))
    .filter((chip) => chip && !state.words.value.includes(chip));
  if (!chips.length) return;
  change([...state.words.value, ...chips]);
}

export function dropWord(at: number): void {
  change(state.words.value.filter((_, i) => i !== at));
}
