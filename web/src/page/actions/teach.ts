/** Marks are saved at every stroke; what they teach is compared with the words. */

import { batch } from "@preact/signals";
import { ask, json } from "../api";
import { number, t } from "../i18n";
import * as state from "../state";
import type { Features, Taught } from "../types";
import { viewBounds } from "./look";
import { fail, run, say } from "./run";

let saving: Promise<void> = Promise.resolve();

/** Keeps the order of saves; the last stroke is what stays. */
export function saveMarks(marks: Features): void {
  state.marks.value = marks;
  const source = state.source.value;
  if (!source) return;
  saving = saving
    .then(async () => {
      const { saved } = await json<{ saved: number }>(`/api/sources/${source.id}/marks`, { method: "PUT", body: marks });
      say(t("teach.saved", { n: saved }));
    })
    .catch(fail);
}

/** Marks of the classes that are asked for. */
function marksToSend(): Features {
  const asked = new Set(state.titles.value.flatMap((title) => [title, state.NOT + title]));
  const features = state.marks.value.features.filter(({ properties }) => asked.has(String(properties.class)));
  return { type: "FeatureCollection", features };
}

export async function teach(): Promise<void> {
  const source = state.source.value;
  const bounds = viewBounds();
  if (!source || !bounds) return;
  await run("teach", async (signal) => {
    await saving;
    const body = { source: source.id, bounds, words: state.words.value, marks: marksToSend(), onto: null };
    const taught = await json<Taught>("/api/teach", { body, signal });
    batch(() => {
      state.taught.value = taught;
      state.result.value = null;
      state.view.value = taught.view;
    });
    say(t("teach.done", { n: number(taught.report.rows.length) }));
  });
}

/** Back to the words alone: what the marks had painted goes, too. */
export async function forgetTaught(): Promise<void> {
  const taught = state.taught.value;
  batch(() => {
    state.taught.value = null;
    if (taught && state.view.value?.taught === taught.taught) state.view.value = null;
  });
  const used = state.running.value.some((job) => job.arguments.taught === taught?.taught);
  if (taught && !used) await ask(`/api/taught/${taught.taught}`, { method: "DELETE" }).catch(fail);
}

export async function saveTaught(name: string): Promise<void> {
  const taught = state.taught.value;
  if (!taught) return;
  await run("save", async (signal) => {
    const answer = await ask(`/api/taught/${taught.taught}/save`, { body: { name }, signal });
    const text = answer.status === 204 ? "" : await answer.text();
    const kept = text ? (JSON.parse(text) as Record<string, unknown>) : {};
    say(t("teach.kept", { name: String(kept.folder ?? name) }));
  });
}

export async function suggest(): Promise<void> {
  const source = state.source.value;
  const bounds = viewBounds();
  if (!source || !bounds) return;
  await run("suggest", async (signal) => {
    const body = { source: source.id, bounds, words: state.words.value, taught: state.taught.value?.taught ?? null, marks: marksToSend(), n: 10 };
    const features = await json<Features>("/api/suggest", { body, signal });
    state.found.value = { kind: "suggest", features };
  });
}
