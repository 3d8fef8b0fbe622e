/** What the server answers (docs/serve.md); bounds are west, south, east, north in degrees of WGS 84. */

export type Bounds = [number, number, number, number];
export type LngLat = [number, number];

export interface Note {
  kind: "note" | "caution";
  text: string;
}

export interface Source {
  id: string;
  name: string;
  width: number;
  height: number;
  bands: number;
  dtype: string;
  crs: string | null;
  georeferenced: boolean;
  gsd_m: number | null;
  bounds: Bounds;
  size_bytes: number;
  day: string | null;
  ready: boolean;
  preparing: boolean;
  notes: Note[];
}

export interface Sources {
  folder: string;
  workspace: string;
  sources: Source[];
  /** Files of the folder that are not served. */
  left_out: { name: string; reason: string }[];
  indexes: { id: string; name: string }[];
  presets: string[];
  preset: string;
}

export interface SceneClass {
  title: string;
  colour: string;
  queries?: string[];
  /** Whether it takes the pixels that nothing else fits. */
  background?: boolean;
}

export interface Histogram {
  unit: "m2" | "px";
  classes: { title: string; colour: string; areas: number[] }[];
  observed: number;
}

export interface View {
  id: string;
  source: string;
  fast: boolean;
  taught: string | null;
  bounds: Bounds;
  corners: [LngLat, LngLat, LngLat, LngLat];
  width: number;
  height: number;
  gsd_m: number | null;
  classes: SceneClass[];
  thresholds: Record<string, number>;
  scores_url: string;
  histogram: Histogram;
  notes: Note[];
  seconds: number;
  cached: boolean;
}

export interface Progress {
  what?: string | null;
  done: number | null;
  total: number | null;
  unit: string | null;
  rate: number | null;
  left_s: number | null;
}

export type JobKind = "segment" | "change" | "count" | "refer" | "teach" | "index" | "prepare";
export type JobState = "queued" | "running" | "succeeded" | "failed" | "cancelled";

export interface Job {
  id: string;
  kind: JobKind;
  state: JobState;
  arguments: Record<string, unknown>;
  created: string;
  started: string | null;
  finished: string | null;
  progress: Progress | null;
  notes: Note[];
  error: string | null;
  result: string | null;
  attempts: number;
  label: string;
}

export interface Result {
  id: string;
  job: string;
  kind: JobKind;
  source?: string | null;
  sources?: string[];
  bounds: Bounds;
  classes: SceneClass[];
  thresholds: Record<string, number>;
  notes: Note[];
  files: { kind: string; name: string; size: number }[];
  complete: boolean;
  gsd_m: number | null;
}

export interface Feature {
  type: "Feature";
  id?: string | number;
  geometry: { type: string; coordinates: unknown };
  properties: Record<string, unknown>;
}

export interface Features {
  type: "FeatureCollection";
  features: Feature[];
  notes?: Note[];
}

export interface Counts extends Features {
  counts: Record<string, number>;
}

export interface Taught {
  taught: string;
  view: View;
  report: {
    method: string;
    rows: { class: string; marks: number; words_iou: number | null; taught_iou: number | null }[];
    notes: Note[];
  };
}

export interface Checked {
  classes: SceneClass[];
  notes: Note[];
}
