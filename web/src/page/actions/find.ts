/** A sentence, a count, similar places: answers that are outlines or points. */

import { json } from "../api";
import { number, t } from "../i18n";
import * as state from "../state";
import type { Counts, Feature, Features } from "../types";
import { viewBounds } from "./look";
import { run, say } from "./run";

/** Things class by class in the order of the words, each with its number within the class. */
export function byClass(features: Features): Features {
  const titles = state.titles.value;
  const place = ({ properties }: Feature): number => titles.indexOf(String(properties.class)) >>> 0;
  const numbers: Record<string, number> = {};
  const rows = [...features.features].sort((a, b) => place(a) - place(b) || String(a.properties.class).localeCompare(String(b.properties.class)));
  const numbered = rows.map((row) => {
    const title = String(row.properties.class ?? "");
    numbers[title] = (numbers[title] ?? 0) + 1;
    return { ...row, properties: { ...row.properties, rank: numbers[title] } };
  });
  return { ...features, features: numbered };
}

function keep(kind: "refer" | "count" | "similar", features: Features): void {
  state.found.value = { kind, features: kind === "count" ? byClass(features) : features };
  say(t("found.said", { n: number(features.features.length) }));
}

export async function refer(all: boolean): Promise<void> {
  const source = state.source.value;
  const bounds = viewBounds();
  if (!source || !bounds) return;
  await run("refer", async (signal) => {
    const body = { source: source.id, bounds, sentence: state.sentence.value.trim(), all };
    keep("refer", await json<Features>("/api/refer", { body, signal }));
  });
}

export const counts = (): Record<string, number> => {
  const tally: Record<string, number> = Object.fromEntries(state.titles.value.map((title) => [title, 0]));
  for (const { properties } of state.found.value?.features.features ?? []) {
    const title = String(properties.class ?? "");
    tally[title] = (tally[title] ?? 0) + 1;
  }
  return tally;
};

export async function count(): Promise<void> {
  const source = state.source.value;
  const bounds = viewBounds();
  if (!source || !bounds) return;
  await run("count", async (signal) => {
    keep("count", await json<Counts>("/api/count", { body: { source: source.id, bounds, words: state.words.value }, signal }));
  });
}

/** Places that look like the one at `point`, or that the words name. */
export async function similar(index: string, point: { lng: number; lat: number } | null): Promise<void> {
  const source = state.source.value;
  await run("similar", async (signal) => {
    const what = point && source ? { point: { source: source.id, ...point } } : { words: state.words.value.join(", ") };
    keep("similar", await json<Features>("/api/similar", { body: { index, ...what, limit: 20 }, signal }));
  });
}
