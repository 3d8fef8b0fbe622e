/** Single keys, listed under "?": never while one types, never those of the browser. */

import { wholeScene } from "./actions/jobs";
import { look } from "./actions/look";
import { markCentre, redo, undo } from "./map/draw";
import { fit } from "./map/map";
import { dialog } from "./parts/Header";
import { keys } from "./parts/Dialogs";
import * as state from "./state";

const TYPED = new Set(["text", "search", "number", "url", "email", "password"]);

function typing(target: EventTarget | null): boolean {
  if (target instanceof HTMLInputElement) return TYPED.has(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || (target instanceof HTMLElement && target.isContentEditable);
}

function hide(at: number): void {
  const title = state.classes.value[at]?.title;
  if (title) state.toggle(title);
}

const KEYS: Record<string, () => void> = {
  "/": () => document.getElementById("words-input")?.focus(),
  v: () => void look(),
  g: () => void wholeScene(),
  e: () => state.showing.value && (dialog.value = "export"),
  h: () => (dialog.value = "history"),
  u: () => (state.unsure.value = !state.unsure.value),
  f: () => state.source.value && fit(state.source.value.bounds),
  m: () => state.tab.value === "teach" && state.nextMark.value && markCentre(state.nextMark.value),
  "?": () => (dialog.value = "help"),
  Escape: () => state.working.value?.stop(),
};

export function listenToKeys(): void {
  addEventListener("keydown", (event) => {
    if (typing(event.target) || dialog.value || event.altKey || event.isComposing) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (state.tab.value !== "teach" || (key !== "z" && key !== "y")) return;
      event.preventDefault();
      if (key === "y" || event.shiftKey) redo();
      else undo();
      return;
    }
    if (!keys.value && key !== "Escape") return;
    const act = KEYS[key] ?? (/^[1-9]$/.test(key) ? () => hide(Number(key) - 1) : undefined);
    if (!act) return;
    if (key !== "Escape") event.preventDefault();
    act();
  });
}
