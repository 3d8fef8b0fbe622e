/** The map of a result in a notebook: image, classes with sliders, and marks that go back to Python. No request leaves it. */

import "maplibre-gl/dist/maplibre-gl.css";
import "./widget.css";
import { type CanvasSource, Map as MapLibre, NavigationControl, ScaleControl, setWorkerUrl } from "maplibre-gl";
import { TerraDraw, TerraDrawPointMode, TerraDrawPolygonMode, TerraDrawRectangleMode } from "terra-draw";
import type { GeoJSONStoreFeatures, HexColor } from "terra-draw";
import { TerraDrawMapLibreGLAdapter } from "terra-draw-maplibre-gl-adapter";
import workerText from "worker-text:maplibre-gl/dist/maplibre-gl-worker.mjs";
import { type Scores, atCorners, decode, ink, pixels } from "../page/map/scores";

type Place = [number, number];

interface Traits {
  image: DataView;
  scores: DataView;
  corners: [Place, Place, Place, Place];
  classes: { title: string; colour: string }[];
  thresholds: Record<string, number>;
  opacity: number;
  marks: { type: "FeatureCollection"; features: Mark[] };
  clicked: { lng: number; lat: number; class: string | null; score: number } | null;
  notes: string[];
  height: number;
}

interface Mark {
  type: "Feature";
  geometry: { type: string; coordinates: unknown };
  properties: { class: string };
}

/** What anywidget hands over. */
interface Model {
  get<Name extends keyof Traits>(name: Name): Traits[Name];
  set<Name extends keyof Traits>(name: Name, value: Traits[Name]): void;
  save_changes(): void;
  on(event: string, listener: () => void): void;
  off(event: string, listener: () => void): void;
}

const TOOLS = { pan: "static", point: "point", box: "rectangle", polygon: "polygon" } as const;
const NAMES: Record<keyof typeof TOOLS, string> = { pan: "Move", point: "Point", box: "Box", polygon: "Polygon" };

let worker: string | null = null;

function startWorker(): void {
  worker ??= URL.createObjectURL(new Blob([workerText], { type: "text/javascript" }));
  setWorkerUrl(worker);
}

function blobOf(bytes: DataView): Blob {
  return new Blob([new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength).slice()], { type: "image/png" });
}

function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function boundsOf(corners: Traits["corners"]): [Place, Place] {
  return [corners[3], corners[1]];
}

/** The classes over the image, painted anew whenever a slider moves. */
class Overlay {
  readonly canvas = element("canvas");
  private hidden = new Set<string>();

  constructor(
    private readonly model: Model,
    private readonly scores: Scores,
    private readonly map: MapLibre,
  ) {
    this.canvas.width = scores.width;
    this.canvas.height = scores.height;
    this.paint();
  }

  add(): void {
    const coordinates = this.model.get("corners");
    this.map.addSource("classes", { type: "canvas", canvas: this.canvas, coordinates, animate: false });
    this.map.addLayer({
      id: "classes", type: "raster", source: "classes",
      paint: { "raster-opacity": this.model.get("opacity"), "raster-resampling": "nearest", "raster-fade-duration": 0 },
    });
  }

  show(title: string, shown: boolean): void {
    if (shown) this.hidden.delete(title);
    else this.hidden.add(title);
    this.paint();
  }

  paint(): void {
    const least = this.model.get("thresholds");
    const inks = this.model
      .get("classes")
      .map(({ title, colour }) => ink(colour, least[title] ?? 0, this.hidden.has(title)));
    this.canvas.getContext("2d")!.putImageData(pixels(this.scores, { inks, background: -1, hatch: false, edges: false }), 0, 0);
    const source = this.map.getSource("classes") as CanvasSource | undefined;
    if (!source) return;
    source.play(); // reads the canvas once more
    this.map.once("render", () => source.pause());
    this.map.triggerRepaint();
  }

  at(lng: number, lat: number): { class: string | null; score: number } {
    const [northWest, , southEast] = this.model.get("corners");
    const found = atCorners(this.scores, northWest, southEast, lng, lat);
    const row = found ? this.model.get("classes")[found[0] - 1] : undefined;
    return { class: row?.title ?? null, score: row && found ? found[1] / 250 : 0 };
  }
}

function classRow(model: Model, overlay: Overlay, title: string, colour: string): HTMLElement {
  const shown = element("input", { type: "checkbox", "aria-label": `Show ${title}` });
  shown.checked = true;
  shown.addEventListener("change", () => overlay.show(title, shown.checked));
  const swatch = element("span", { class: "ew-swatch" });
  swatch.style.background = colour;
  const number = element("output");
  const slider = element("input", { type: "range", min: "0", max: "1", step: "0.01", "aria-label": `Least score of ${title}` });
  const tell = (): void => {
    const value = model.get("thresholds")[title] ?? 0;
    slider.value = String(value);
    number.textContent = value.toFixed(2);
  };
  slider.addEventListener("input", () => {
    model.set("thresholds", { ...model.get("thresholds"), [title]: Number(slider.value) });
    model.save_changes();
  });
  model.on("change:thresholds", tell);
  tell();
  return element("div", { class: "ew-row" }, shown, swatch, element("span", {}, title), number, slider);
}

/** Marks of classes; each stroke is in Python at once. */
function drawing(model: Model, map: MapLibre): HTMLElement {
  const colours = new Map(model.get("classes").map(({ title, colour }) => [title, colour]));
  const colourOf = ({ properties }: GeoJSONStoreFeatures): HexColor =>
    (colours.get((properties.class as string | undefined) ?? choice.value) ?? "#ffd23f") as HexColor;
  const area = { fillColor: colourOf, fillOpacity: 0.45, outlineColor: "#ffffff" as HexColor, outlineWidth: 2 };
  const draw = new TerraDraw({
    adapter: new TerraDrawMapLibreGLAdapter({ map, coordinatePrecision: 9 }),
    modes: [
      new TerraDrawPointMode({ styles: { pointColor: colourOf, pointWidth: 6, pointOutlineColor: "#ffffff", pointOutlineWidth: 2 } }),
      new TerraDrawRectangleMode({ styles: area }),
      new TerraDrawPolygonMode({ styles: area }),
    ],
  });
  const choice = element("select", { "aria-label": "Class of the next mark" });
  for (const title of colours.keys()) choice.append(element("option", { value: title }, title));
  const count = element("span", { "aria-live": "polite" });
  let own = false;
  const tell = (): void => {
    const features = draw.getSnapshot().filter(({ properties }) => "class" in properties);
    const marks = features.map(({ geometry, properties }) => ({
      type: "Feature" as const,
      geometry: { type: geometry.type, coordinates: geometry.coordinates },
      properties: { class: properties.class as string },
    }));
    count.textContent = marks.length === 1 ? "1 mark" : `${marks.length} marks`;
    own = true;
    model.set("marks", { type: "FeatureCollection", features: marks });
    model.save_changes();
    own = false;
  };
  const put = (): void => {
    if (own) return;
    draw.clear();
    const rounded = (value: unknown): unknown =>
      Array.isArray(value) ? value.map(rounded) : Number((value as number).toFixed(9));
    const rows = model.get("marks").features.map(({ geometry, properties }) => ({
      type: "Feature",
      geometry: { type: geometry.type, coordinates: rounded(geometry.coordinates) },
      properties: { class: properties.class, mode: geometry.type === "Point" ? "point" : "polygon" },
    }));
    draw.addFeatures(rows as unknown as GeoJSONStoreFeatures[]);
    count.textContent = rows.length === 1 ? "1 mark" : `${rows.length} marks`;
  };
  draw.start();
  draw.setMode("static");
  draw.on("finish", (id) => {
    draw.updateFeatureProperties(id, { class: choice.value });
    tell();
  });
  put();
  model.on("change:marks", put);
  const tools = (Object.keys(TOOLS) as (keyof typeof TOOLS)[]).map((tool) => {
    const button = element("button", { type: "button", "aria-pressed": String(tool === "pan") }, NAMES[tool]);
    button.addEventListener("click", () => {
      draw.setMode(TOOLS[tool]);
      for (const other of tools) other.setAttribute("aria-pressed", String(other === button));
    });
    return button;
  });
  const undo = element("button", { type: "button" }, "Take back");
  undo.addEventListener("click", () => {
    const last = draw.getSnapshot().filter(({ properties }) => "class" in properties).at(-1);
    if (last?.id === undefined) return;
    draw.removeFeatures([last.id]);
    tell();
  });
  return element("fieldset", {}, element("legend", {}, "Marks"), element("div", { class: "ew-tools" }, choice, ...tools, undo), count);
}

async function render({ model, el }: { model: Model; el: HTMLElement }): Promise<() => void> {
  startWorker();
  const canvas = element("div", { class: "ew-canvas" });
  canvas.style.height = `${model.get("height")}px`;
  const panel = element("div", { class: "ew-panel" });
  panel.style.maxHeight = `${model.get("height")}px`;
  el.append(element("div", { class: "earthwords-map" }, canvas, panel));
  const picture = URL.createObjectURL(blobOf(model.get("image")));
  const scores = await decode(blobOf(model.get("scores")));
  const map = new MapLibre({
    container: canvas,
    style: { version: 8, sources: {}, layers: [] },
    bounds: boundsOf(model.get("corners")),
    fitBoundsOptions: { padding: 12 },
    attributionControl: false,
    maxZoom: 23,
  });
  map.addControl(new NavigationControl());
  map.addControl(new ScaleControl());
  await map.once("load");
  map.addSource("image", { type: "image", url: picture, coordinates: model.get("corners") });
  map.addLayer({ id: "image", type: "raster", source: "image", paint: { "raster-fade-duration": 0 } });
  const overlay = new Overlay(model, scores, map);
  overlay.add();

  const classes = model.get("classes").map(({ title, colour }) => classRow(model, overlay, title, colour));
  const opacity = element("input", { type: "range", min: "0", max: "1", step: "0.05", "aria-label": "Opacity of the classes" });
  opacity.value = String(model.get("opacity"));
  opacity.addEventListener("input", () => {
    model.set("opacity", Number(opacity.value));
    model.save_changes();
  });
  const readout = element("p", { class: "ew-note ew-readout", "aria-live": "off" });
  const notes = model.get("notes").map((note) => element("p", { class: "ew-note" }, note));
  panel.append(
    element("fieldset", {}, element("legend", {}, "Least score"), ...classes),
    element("fieldset", {}, element("legend", {}, "Opacity"), opacity),
    drawing(model, map),
    readout,
    ...notes,
  );
  map.on("mousemove", ({ lngLat }) => {
    const found = overlay.at(lngLat.lng, lngLat.lat);
    readout.textContent = found.class === null ? "" : `${found.class}, score ${found.score.toFixed(2)}`;
  });
  map.on("click", ({ lngLat: { lng, lat } }) => {
    model.set("clicked", { lng, lat, ...overlay.at(lng, lat) });
    model.save_changes();
  });
  const paint = (): void => overlay.paint();
  const fade = (): void => void map.setPaintProperty("classes", "raster-opacity", model.get("opacity"));
  model.on("change:thresholds", paint);
  model.on("change:opacity", fade);
  el.dataset.ready = "yes";
  return () => {
    model.off("change:thresholds", paint);
    model.off("change:opacity", fade);
    URL.revokeObjectURL(picture);
    map.remove();
  };
}

export default { render };
