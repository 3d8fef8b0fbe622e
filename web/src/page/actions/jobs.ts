/** Long work on the server: asked for once, followed over one stream of events, reopened from the history. */

import { batch, signal } from "@preact/signals";
import { ask, json, reachable } from "../api";
import { one, t } from "../i18n";
import * as map from "../map/map";
import * as state from "../state";
import type { Features, Histogram, Job, JobKind, Result } from "../types";
import { byClass } from "./find";
import { openSource, refreshSource } from "./open";
import { fail, later, run, say, seldom } from "./run";

/** The job whose map is shown as it grows. */
export const followed = signal<string | null>(null);

const END = new Set(["succeeded", "failed", "cancelled"]);
const KEEP = 100;

function key(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function loadJobs(): Promise<void> {
  const { jobs } = await json<{ jobs: Job[] }>(`/api/jobs?limit=${KEEP}`);
  state.jobs.value = jobs;
  jobs.forEach(watch);
}

function watch(job: Job): void {
  if (!END.has(job.state)) state.watched.value = new Set([...state.watched.value, job.id]);
}

function put(job: Job): void {
  watch(job);
  const others = state.jobs.value.filter(({ id }) => id !== job.id);
  state.jobs.value = [job, ...others].sort((a, b) => (a.created < b.created ? 1 : -1));
}

/** Asks for work on a whole scene and follows it. */
export async function submit(kind: JobKind, wanted: Record<string, unknown>): Promise<void> {
  await run("open", async (signal) => {
    const job = await json<Job>("/api/jobs", { body: { kind, arguments: wanted }, headers: { "Idempotency-Key": key() }, signal });
    followed.value = job.id;
    put(job);
    say(t("job.queued_said", { label: job.label }));
  });
}

export async function wholeScene(): Promise<void> {
  const source = state.source.value;
  if (!source || !state.words.value.length) return;
  const taught = state.taught.value?.taught;
  await submit("segment", { source: source.id, words: state.words.value, ...(taught ? { taught } : {}) });
}

async function act(path: string, method: string): Promise<void> {
  try {
    const response = await ask(path, method === "POST" ? { body: {} } : { method });
    if (response.status !== 204 && response.headers.get("Content-Type")?.includes("json")) put((await response.json()) as Job);
  } catch (error) {
    fail(error);
  }
}

export const cancel = (id: string): Promise<void> => act(`/api/jobs/${id}/cancel`, "POST");

export async function resume(id: string): Promise<void> {
  followed.value = id;
  begun = null;
  await act(`/api/jobs/${id}/resume`, "POST");
}

export async function forget(job: Job): Promise<void> {
  await act(`/api/jobs/${job.id}`, "DELETE");
  state.jobs.value = state.jobs.value.filter(({ id }) => id !== job.id);
  if (job.result && state.result.value?.id === job.result) state.result.value = null;
}

/** Where a result of the history is shown. */
const TABS: Partial<Record<JobKind, state.Tab>> = { count: "count", change: "change", refer: "refer" };
const AREAS = new Set<JobKind>(["segment", "teach"]);

/** Shows what a job made, the image it is of included. */
export async function openResult(id: string, fit = false): Promise<void> {
  const result = await json<Result>(`/api/results/${id}`);
  const source = result.source ?? result.sources?.[0];
  if (source && state.source.value?.id !== source) await openSource(source, fit);
  batch(() => {
    state.view.value = null;
    state.found.value = null;
    state.result.value = result;
    if (result.kind === "change" && result.sources) state.later.value = result.sources[1] ?? null;
    if (fit) state.tab.value = TABS[result.kind] ?? "words";
  });
  if (fit) map.fit(result.bounds);
  if (AREAS.has(result.kind)) await loadHistogram();
  else await loadFeatures(result);
}

async function loadHistogram(): Promise<void> {
  const id = state.result.value?.complete ? state.result.value.id : null;
  state.resultHistogram.value = null;
  if (!id) return; // before the end there is none
  const histogram = await json<Histogram>(`/api/results/${id}/histogram`);
  if (state.result.value?.id === id) state.resultHistogram.value = histogram;
}

async function loadFeatures(result: Result): Promise<void> {
  if (!result.complete) return;
  const features = await json<Features>(`/api/results/${result.id}/polygons.geojson`);
  if (state.result.value?.id !== result.id) return;
  const kind = result.kind === "count" ? "count" : result.kind === "change" ? "change" : "refer";
  state.found.value = { kind, features: kind === "count" ? byClass(features) : features };
}

const grown = seldom(700, map.freshTiles);

/** The result that was opened when its job began; it is opened once more at the end. */
let begun: string | null = null;

function heard(job: Job): void {
  put(job);
  if (job.kind === "prepare" && END.has(job.state)) {
    void refreshSource(String(job.arguments.source)).catch(fail);
    return;
  }
  if (job.id !== followed.value) return;
  if (job.result && (job.result !== begun || END.has(job.state))) {
    begun = job.result;
    openResult(job.result).then(map.freshTiles).catch(fail);
  }
  if (END.has(job.state)) {
    say(t("job.ended_said", { label: job.label, state: one("state", job.state) }));
    if (job.state === "failed" && job.error) state.failure.value = job.error;
    followed.value = null;
  }
}

let stream: EventSource | null = null;

/** One stream a page; the browser takes it up again where it was cut off. */
export function listen(): void {
  stream?.close();
  const opened = new EventSource("/api/events");
  stream = opened;
  opened.addEventListener("job", (event) => heard(JSON.parse((event as MessageEvent<string>).data) as Job));
  opened.addEventListener("tile", (event) => {
    const { result } = JSON.parse((event as MessageEvent<string>).data) as { result: string };
    if (state.result.value?.id === result) grown();
  });
  opened.onerror = () => {
    if (opened.readyState === EventSource.CLOSED) reconnect();
  };
}

const reconnect = later(2000, () => void json("/api/session").then(listen).catch(fail));

/** What was missed while the server was away is asked for once it is back. */
reachable.subscribe((answers) => {
  if (answers && stream) {
    listen();
    loadJobs().catch(fail);
  }
});
