import { computed, signal } from "@preact/signals";
import { least } from "./map/scores";
import { remember, remembered } from "./memory";
import type { Bounds, Checked, Features, Histogram, Job, Note, Result, SceneClass, Source, Sources, Taught, View } from "./types";

/** Before the class that a mark is not of. */
export const NOT = "not ";

export type Tab = "words" | "teach" | "refer" | "count" | "change" | "similar";
export type Theme = "auto" | "light" | "dark";

export const library = signal<Sources | null>(null);
export const source = signal<Source | null>(null);

/** One chip a class; synonyms are divided by commas. */
export const words = signal<string[]>([]);
export const checked = signal<Checked | null>(null);
export const tab = signal<Tab>("words");
export const sentence = signal("");
/** The second image of a change. */
export const later = signal<string | null>(null);

export const view = signal<View | null>(null);
export const result = signal<Result | null>(null);
export const resultHistogram = signal<Histogram | null>(null);
export const jobs = signal<Job[]>([]);

/** What the person chose, by title of the class; the server's own value where there is none. */
export const chosen = signal<Record<string, number>>({});
export const hidden = signal<ReadonlySet<string>>(new Set());
export const opacity = signal(0.65);
export const unsure = signal(true);

export const marks = signal<Features>({ type: "FeatureCollection", features: [] });
export const markClass = signal<string | null>(null);
/** Whether the next mark says what its class is not. */
export const markNot = signal(false);
export const nextMark = computed(() => (markClass.value === null ? null : markNot.value ? NOT + markClass.value : markClass.value));
export const markTool = signal<"pan" | "point" | "box" | "polygon">("pan");
export const taught = signal<Taught | null>(null);

/** Outlines and points of a sentence, a count, a change, suggestions or similar places. */
export const found = signal<{ kind: "refer" | "count" | "change" | "suggest" | "similar"; features: Features } | null>(null);

export interface Working {
  what: "view" | "exact" | "teach" | "refer" | "count" | "suggest" | "similar" | "export" | "open" | "save";
  stop: () => void;
}
export const working = signal<Working | null>(null);
export const failure = signal<string | null>(null);
/** Name of the image that is being opened. */
export const opening = signal<string | null>(null);
export const said = signal("");

export const theme = signal<Theme>((remembered("theme") as Theme | null) ?? "auto");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(prefersDark.matches);
prefersDark.addEventListener("change", (event) => (systemDark.value = event.matches));
export const dark = computed(() => (theme.value === "auto" ? systemDark.value : theme.value === "dark"));

export function choose(wanted: Theme): void {
  theme.value = wanted;
  remember("theme", wanted);
}

/** Whether a class is not painted; the background is painted only if one asks for it. */
export const isHidden = ({ title, background }: SceneClass): boolean => hidden.value.has(title) !== (background ?? false);

/** Hides a class, or shows it again. */
export function toggle(title: string): void {
  const next = new Set(hidden.value);
  if (!next.delete(title)) next.add(title);
  hidden.value = next;
}

/** What the map shows: the whole scene once there is one, else the view. */
export const showing = computed<"result" | "view" | null>(() => (result.value ? "result" : view.value ? "view" : null));

export const classes = computed<SceneClass[]>(() => result.value?.classes ?? view.value?.classes ?? []);

/** Titles of the classes that the words make, before any run too. */
export const titles = computed<string[]>(() =>
  checked.value && checked.value.classes.length >= words.value.length
    ? checked.value.classes.slice(0, words.value.length).map(({ title }) => title)
    : words.value.map((chip) => chip.split(",")[0]!),
);

export const colours = computed<Record<string, string>>(() =>
  Object.fromEntries([...(checked.value?.classes ?? []), ...classes.value].map(({ title, colour }) => [title, colour])),
);

export const markColour = (title: string): string | undefined => (title.startsWith(NOT) ? "#4b555d" : colours.value[title]);

export const histogram = computed<Histogram | null>(() =>
  result.value ? resultHistogram.value : (view.value?.histogram ?? null),
);

export const thresholds = computed<Record<string, number>>(() => {
  const own = result.value?.thresholds ?? view.value?.thresholds ?? {};
  return Object.fromEntries(
    classes.value.map(({ title, background }) => [title, background ? 0 : (chosen.value[title] ?? own[title] ?? 0)]),
  );
});

/** Whether thresholds are others than those of the run. */
export const moved = computed(() => {
  const own = result.value?.thresholds ?? view.value?.thresholds ?? {};
  return classes.value.some(({ title, background }) => !background && thresholds.value[title] !== (own[title] ?? 0));
});

const sum = (values: number[]): number => values.reduce((all, value) => all + value, 0);

/** What a class covers: its pixels from the threshold on; of the background also what reaches no threshold, as exports have it. */
export function areaOf({ title, background }: SceneClass): number | null {
  const rows = histogram.value?.classes;
  const own = rows?.find((row) => row.title === title);
  if (!rows || !own) return null;
  if (!background) return sum(own.areas.slice(least(thresholds.value[title] ?? 0)));
  return sum(own.areas) + sum(rows.filter((row) => row !== own).map((row) => sum(row.areas.slice(0, least(thresholds.value[row.title] ?? 0)))));
}

/** Jobs that were at work while the page was open. */
export const watched = signal<ReadonlySet<string>>(new Set());

export const running = computed(() => jobs.value.filter((job) => job.state === "queued" || job.state === "running"));

/** Of the image, and of the map where one asks for maps; other tabs tell their own notes beside what they found. */
export const notes = computed<Note[]>(() => {
  const maps = tab.value === "words" || tab.value === "teach";
  const areas = !result.value || result.value.kind === "segment" || result.value.kind === "teach";
  const all = [...(source.value?.notes ?? []), ...(maps && areas ? (result.value?.notes ?? view.value?.notes ?? []) : [])];
  const told = new Set(checked.value?.notes.map(({ text }) => text));
  return all.filter((note, i) => !told.has(note.text) && all.findIndex((other) => other.text === note.text) === i);
});

export function overlap(a: Bounds, b: Bounds): Bounds | null {
  const both: Bounds = [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
  return both[0] < both[2] && both[1] < both[3] ? both : null;
}
