/** The list of images, opening one, making its overviews. */

import { batch } from "@preact/signals";
import { ApiError, json } from "../api";
import { openMarks } from "../map/draw";
import * as map from "../map/map";
import * as state from "../state";
import type { Features, Job, Source, Sources } from "../types";
import { fail, run } from "./run";

export async function loadLibrary(): Promise<void> {
  state.library.value = await json<Sources>("/api/sources");
}

/** Opens an image; with `fit` the map goes there. */
export async function openSource(id: string, fit = true): Promise<void> {
  state.opening.value = state.library.value?.sources.find((each) => each.id === id)?.name ?? "";
  const source = await json<Source>(`/api/sources/${id}`).finally(() => (state.opening.value = null));
  batch(() => {
    state.source.value = source;
    state.view.value = null;
    state.result.value = null;
    state.resultHistogram.value = null;
    state.found.value = null;
    state.taught.value = null;
    state.failure.value = null;
  });
  if (fit) map.fit(source.bounds, false);
  await loadMarks(id);
}

export function closeSource(): void {
  batch(() => {
    state.source.value = null;
    state.view.value = null;
    state.result.value = null;
    state.found.value = null;
    state.taught.value = null;
  });
  loadLibrary().catch(fail);
}

async function loadMarks(id: string): Promise<void> {
  try {
    const kept = await json<Features>(`/api/sources/${id}/marks`);
    if (state.source.value?.id !== id) return;
    openMarks(kept);
    state.marks.value = kept;
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) fail(error);
  }
}

/** Makes overviews of a large image once; the map shows it when they are there. */
export async function prepare(id: string): Promise<void> {
  await run("open", async (signal) => {
    const answer = await json<{ job?: Job | string }>(`/api/sources/${id}/prepare`, { body: {}, signal });
    if (!answer.job) await refreshSource(id);
    else if (state.source.value?.id === id) state.source.value = { ...state.source.value, preparing: true };
  });
}

export async function refreshSource(id: string): Promise<void> {
  const fresh = await json<Source>(`/api/sources/${id}`);
  if (state.source.value?.id === id) state.source.value = fresh;
  await loadLibrary();
}
