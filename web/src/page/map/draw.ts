/** Marks: points, boxes and polygons of a class, drawn by terra-draw, with our own steps back and forward. */

import { TerraDraw, TerraDrawPointMode, TerraDrawPolygonMode, TerraDrawRectangleMode } from "terra-draw";
import type { GeoJSONStoreFeatures, HexColor } from "terra-draw";
import { TerraDrawMapLibreGLAdapter } from "terra-draw-maplibre-gl-adapter";
import { signal } from "@preact/signals";
import type { Feature, Features } from "../types";
import { theMap } from "./map";

export type Tool = "pan" | "point" | "box" | "polygon";

const MODES: Record<Tool, string> = { pan: "static", point: "point", box: "rectangle", polygon: "polygon" };
const PLAIN = "#ffd23f";
const EDGE: HexColor = "#ffffff";
const DIGITS = 9;

export const steps = signal({ back: 0, forward: 0 });

interface Listener {
  /** The class of the next mark. */
  current: () => string | null;
  colour: (title: string) => string | undefined;
  changed: (marks: Features) => void;
}

let draw: TerraDraw | null = null;
let listener: Listener | null = null;
let past: Features[] = [];
let present: Features = { type: "FeatureCollection", features: [] };
let future: Features[] = [];

function colourOf(feature: GeoJSONStoreFeatures): HexColor {
  const title = (feature.properties.class as string | undefined) ?? listener?.current();
  return (title && (listener?.colour(title) as HexColor | undefined)) || PLAIN;
}

const AREA = {
  fillColor: colourOf,
  fillOpacity: 0.45,
  outlineColor: EDGE,
  outlineWidth: 2,
};

export function startDrawing(wanted: Listener): void {
  listener = wanted;
  if (draw) return;
  const made = new TerraDraw({
    adapter: new TerraDrawMapLibreGLAdapter({ map: theMap(), coordinatePrecision: DIGITS }),
    modes: [
      new TerraDrawPointMode({ styles: { pointColor: colourOf, pointWidth: 6, pointOutlineColor: EDGE, pointOutlineWidth: 2 } }),
      new TerraDrawRectangleMode({ styles: AREA }),
      new TerraDrawPolygonMode({ styles: AREA }),
    ],
  });
  draw = made;
  made.start();
  made.setMode("static");
  made.on("finish", (id) => {
    const title = listener?.current();
    if (title) made.updateFeatureProperties(id, { class: title });
    step(snapshot());
  });
}

function snapshot(): Features {
  const features = draw!.getSnapshot().filter(({ properties }) => "class" in properties) as unknown as Feature[];
  return { type: "FeatureCollection", features };
}

function step(next: Features): void {
  past.push(present);
  future = [];
  present = next;
  tell();
}

function tell(): void {
  steps.value = { back: past.length, forward: future.length };
  listener?.changed(present);
}

const modeOf = (feature: Feature): string =>
  feature.geometry.type === "Point" ? "point" : ((feature.properties.mode as string | undefined) ?? "polygon");

const rounded = (value: unknown): unknown =>
  Array.isArray(value) ? value.map(rounded) : Number((value as number).toFixed(DIGITS));

function put(marks: Features): void {
  if (!draw) return;
  const mode = draw.getMode();
  draw.clear();
  const rows = marks.features.map(({ geometry, properties }) => ({
    type: "Feature",
    geometry: { type: geometry.type, coordinates: rounded(geometry.coordinates) },
    properties: { class: properties.class, mode: modeOf({ type: "Feature", geometry, properties }) },
  }));
  draw.addFeatures(rows as unknown as GeoJSONStoreFeatures[]);
  draw.setMode(mode);
}

/** Marks as the server keeps them; where one can go back to begins anew. */
export function openMarks(marks: Features): void {
  past = [];
  future = [];
  put(marks);
  present = draw ? snapshot() : marks;
  steps.value = { back: 0, forward: 0 };
}

export function undo(): void {
  const before = past.pop();
  if (!before) return;
  future.push(present);
  present = before;
  put(present);
  tell();
}

export function redo(): void {
  const after = future.pop();
  if (!after) return;
  past.push(present);
  present = after;
  put(present);
  tell();
}

export function removeMark(at: number): void {
  const features = present.features.filter((_, i) => i !== at);
  put({ type: "FeatureCollection", features });
  step({ type: "FeatureCollection", features });
}

/** A point without a mouse: where the cross in the middle of the map is. */
export function markCentre(title: string): void {
  const { lng, lat } = theMap().getCenter();
  const geometry = { type: "Point", coordinates: rounded([lng, lat]) };
  const features: Feature[] = [...present.features, { type: "Feature", geometry, properties: { class: title, mode: "point" } }];
  put({ type: "FeatureCollection", features });
  step({ type: "FeatureCollection", features });
}

export function takeTool(tool: Tool): void {
  draw?.setMode(MODES[tool]);
}

/** Colours of classes changed: draws the marks again. */
export function recolour(): void {
  if (draw) put(present);
}
