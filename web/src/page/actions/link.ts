/** The address of the page says what it shows, so that it can be kept and sent. */

import { effect } from "@preact/signals";
import { seen, theMap } from "../map/map";
import * as state from "../state";
import type { Bounds } from "../types";
import { openResult } from "./jobs";
import { checkWords, look } from "./look";
import { openSource } from "./open";
import { fail, later } from "./run";

const DIGITS = 7;

function written(): string {
  const { source, result, view, words, chosen, hidden, taught } = state;
  const hash = new URLSearchParams();
  if (!source.value) return "";
  hash.set("image", source.value.id);
  if (seen.value) {
    const { lng, lat } = theMap().getCenter();
    hash.set("at", [lng.toFixed(DIGITS), lat.toFixed(DIGITS), theMap().getZoom().toFixed(2)].join(","));
  }
  if (words.value.length) hash.set("words", words.value.join(";"));
  const own = Object.entries(chosen.value).map(([title, value]) => `${title}:${value}`);
  if (own.length) hash.set("at_least", own.join(";"));
  if (hidden.value.size) hash.set("hide", [...hidden.value].join(";"));
  if (result.value) hash.set("result", result.value.id);
  else if (view.value && !taught.value) hash.set("view", view.value.bounds.map((value) => value.toFixed(DIGITS)).join(","));
  return `#${hash.toString()}`;
}

const write = later(150, (hash: string) => history.replaceState(null, "", hash || location.pathname));

export function keepLink(): void {
  effect(() => write(written()));
}

const list = (text: string | null): string[] => (text ?? "").split(";").filter(Boolean);

/** Goes to what the address names: image, place, words, thresholds, and the result or the view. */
export async function openLink(): Promise<void> {
  const hash = new URLSearchParams(location.hash.slice(1));
  const image = hash.get("image");
  if (!image) return;
  try {
    await openSource(image);
    const [lng, lat, zoom] = (hash.get("at") ?? "").split(",").map(Number);
    if (zoom !== undefined && Number.isFinite(zoom)) theMap().jumpTo({ center: [lng!, lat!], zoom });
    state.words.value = list(hash.get("words"));
    state.hidden.value = new Set(list(hash.get("hide")));
    const pairs = list(hash.get("at_least")).map((pair) => [pair.slice(0, pair.lastIndexOf(":")), Number(pair.slice(pair.lastIndexOf(":") + 1))]);
    state.chosen.value = Object.fromEntries(pairs) as Record<string, number>;
    checkWords();
    const result = hash.get("result");
    const box = (hash.get("view") ?? "").split(",").map(Number);
    if (result) await openResult(result);
    else if (box.length === 4 && box.every(Number.isFinite)) await look(box as Bounds);
  } catch (error) {
    fail(error);
  }
}
