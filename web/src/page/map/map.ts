/** The one map of the page: layers in a fixed order, everything on it from our own server. */

import { addProtocol, Map as GlMap, NavigationControl, ScaleControl, setWorkerUrl } from "maplibre-gl";
import type { LngLatBoundsLike, StyleSpecification } from "maplibre-gl";
import { Protocol } from "pmtiles";
import { signal } from "@preact/signals";
import { t } from "../i18n";
import type { Bounds, Result, Source, View } from "../types";
import { atCorners, atTiles, fetchScores, pixels, Tiles } from "./scores";
import type { Paint, Scores } from "./scores";

setWorkerUrl(new URL("./maplibre-gl-worker.mjs", import.meta.url).href);
addProtocol("pmtiles", new Protocol().tile);

export interface Pointed {
  lng: number;
  lat: number;
  bytes: [number, number, number] | null;
}

/** What lies under the pointer, or under the cross in the middle while the map has the keyboard. */
export const pointed = signal<Pointed | null>(null);
export const ready = signal(false);
/** West, south, east, north of what can be seen. */
export const seen = signal<Bounds | null>(null);

const ANCHORS = ["over-ground", "over-image", "over-scores"] as const;
const VIEW_SCALE = 2;
const MOST_ZOOM = 24;

let map: GlMap | null = null;
let paint: Paint = { inks: [], background: -1, hatch: true, edges: false };
let viewScores: { scores: Scores; view: View; canvas: HTMLCanvasElement } | null = null;
let wanted: string | null = null;
let tiles: { kept: Tiles; finest: number } | null = null;

export const theMap = (): GlMap => map!;

function style(background: string): StyleSpecification {
  const anchors = ANCHORS.map((id) => ({ id, type: "background" as const, layout: { visibility: "none" as const } }));
  return {
    version: 8,
    sources: {},
    layers: [{ id: "ground", type: "background", paint: { "background-color": background } }, ...anchors],
  };
}

export const groundOf = (dark: boolean): string => (dark ? "#0d1317" : "#e3e8ea");

let coming = 0;

addProtocol("scores", async ({ url }, controller) => {
  const [result, z, x, y] = url.slice("scores://".length).split("/");
  coming += 1;
  try {
    const scores = tiles?.kept.result === result ? await tiles!.kept.get(`${z}/${x}/${y}`, controller.signal) : null;
    return { data: await createImageBitmap(scores ? pixels(scores, paint) : new ImageData(1, 1)) };
  } finally {
    coming -= 1;
  }
});

export function locale(): Record<string, string> {
  return {
    "NavigationControl.ZoomIn": t("map.zoom_in"),
    "NavigationControl.ZoomOut": t("map.zoom_out"),
    "Map.Title": t("map.title"),
  };
}

export function start(container: HTMLElement, dark: boolean): Promise<void> {
  const made = new GlMap({
    container,
    style: style(groundOf(dark)),
    center: [0, 0],
    zoom: 1,
    maxZoom: MOST_ZOOM,
    maxPitch: 0,
    dragRotate: false,
    pitchWithRotate: false,
    renderWorldCopies: false,
    attributionControl: false,
    fadeDuration: 0,
    locale: locale(),
    canvasContextAttributes: { preserveDrawingBuffer: false },
  });
  map = made;
  made.touchZoomRotate.disableRotation();
  made.keyboard.disableRotation();
  made.addControl(new NavigationControl({ showCompass: false }), "top-right");
  made.addControl(new ScaleControl({ maxWidth: 120 }), "bottom-right");
  const look = (): void => {
    const box = made.getBounds();
    seen.value = [box.getWest(), box.getSouth(), box.getEast(), box.getNorth()];
  };
  made.on("moveend", look);
  made.on("moveend", () => document.activeElement === made.getCanvas() && point(made.getCenter()));
  made.on("mousemove", (event) => point(event.lngLat));
  made.on("mouseout", () => (pointed.value = null));
  made.on("error", ({ error }) => {
    if (!/abort/i.test(error.message)) console.warn(error.message);
  });
  return new Promise((done) =>
    made.once("load", () => {
      look();
      ready.value = true;
      done();
    }),
  );
}

function point({ lng, lat }: { lng: number; lat: number }): void {
  let bytes: [number, number, number] | null = null;
  if (tiles) bytes = atTiles(tiles.kept, tiles.finest, lng, lat);
  else if (viewScores) bytes = atCorners(viewScores.scores, viewScores.view.corners[0], viewScores.view.corners[2], lng, lat);
  pointed.value = { lng, lat, bytes };
}

/** Room that the panel takes away from the map, so that what is fitted lies beside it. */
export function padding(): { top: number; left: number; right: number; bottom: number } {
  const phone = matchMedia("(max-width: 720px)").matches;
  return phone ? { top: 24, left: 24, right: 24, bottom: 40 } : { top: 48, left: 48, right: 56, bottom: 48 };
}

export function fit(bounds: Bounds, animate = true): void {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  theMap().fitBounds(bounds as LngLatBoundsLike, { padding: padding(), animate: animate && !calm, duration: 500 });
}

export function remove(...ids: string[]): void {
  const here = theMap();
  for (const id of ids) {
    if (here.getLayer(id)) here.removeLayer(id);
    if (here.getSource(id)) here.removeSource(id);
  }
}

/** The zoom at which a pixel of the map is one of the ground, for 256 px tiles. */
export function finest(gsd: number | null, bounds: Bounds): number {
  if (!gsd) return 22;
  const metres = 156_543.034 * Math.cos((((bounds[1] + bounds[3]) / 2) * Math.PI) / 180);
  return Math.max(0, Math.min(MOST_ZOOM - 1, Math.ceil(Math.log2(metres / gsd))));
}

export function imageTiles(source: Source): { type: "raster"; tiles: string[]; tileSize: 256; bounds: Bounds; maxzoom: number } {
  const url = `${location.origin}/api/sources/${source.id}/tiles/{z}/{x}/{y}.webp`;
  const maxzoom = finest(source.gsd_m, source.bounds);
  return { type: "raster", tiles: [url], tileSize: 256, bounds: source.bounds, maxzoom };
}

/** Whether the image that was opened is not on the map yet. */
export const drawing = signal(false);

export function showSource(source: Source | null): void {
  remove("image");
  drawing.value = source !== null;
  if (source === null) return;
  const here = theMap();
  here.once("idle", () => (drawing.value = false));
  here.addSource("image", imageTiles(source));
  const calm = { "raster-fade-duration": 0 };
  here.addLayer({ id: "image", type: "raster", source: "image", paint: calm }, "over-ground");
}

const SHARP = { "raster-fade-duration": 0, "raster-resampling": "nearest" as const };

/** Shows the score picture of a view, or takes it away. */
export async function showView(view: View | null, opacity: number): Promise<void> {
  wanted = view?.id ?? null;
  if (view === null) {
    viewScores = null;
    remove("view");
    return;
  }
  const scores = await fetchScores(view.scores_url);
  if (scores === null || wanted !== view.id) return;
  const canvas = document.createElement("canvas");
  canvas.width = scores.width * VIEW_SCALE;
  canvas.height = scores.height * VIEW_SCALE;
  viewScores = { scores, view, canvas };
  canvas.getContext("2d")!.putImageData(pixels(scores, paint, VIEW_SCALE), 0, 0);
  remove("view");
  theMap().addSource("view", { type: "canvas", canvas, coordinates: view.corners, animate: false });
  theMap().addLayer({ id: "view", type: "raster", source: "view", paint: { ...SHARP, "raster-opacity": opacity } }, "over-image");
}

/** Shows the score tiles of a whole scene, or takes them away. */
export function showResult(result: Result | null, opacity: number): void {
  remove("scene");
  tiles = null;
  if (result === null) return;
  const most = finest(result.gsd_m, result.bounds);
  tiles = { kept: new Tiles(result.id), finest: most };
  theMap().addSource("scene", {
    type: "raster",
    tiles: [`scores://${result.id}/{z}/{x}/{y}`],
    tileSize: 256,
    bounds: result.bounds,
    maxzoom: most,
  });
  theMap().addLayer({ id: "scene", type: "raster", source: "scene", paint: { ...SHARP, "raster-opacity": opacity } }, "over-image");
}

/** More of a running scene is there: asks again for the tiles that had holes, once those that come have come. */
export function freshTiles(): void {
  if (coming) {
    clearTimeout(again);
    again = setTimeout(freshTiles, 200);
    return;
  }
  tiles?.kept.forgetIncomplete();
  if (theMap().getSource("scene")) theMap().refreshTiles("scene");
}

let again: ReturnType<typeof setTimeout> | undefined;

interface Repaintable {
  play: () => void;
  pause: () => void;
}

/** Paints the kept bytes again; asks the server for nothing. */
export function repaint(next: Paint): void {
  paint = next;
  const here = map;
  if (!here || !ready.value) return;
  if (viewScores && here.getSource("view")) {
    viewScores.canvas.getContext("2d")!.putImageData(pixels(viewScores.scores, paint, VIEW_SCALE), 0, 0);
    const source = here.getSource("view") as unknown as Repaintable;
    source.play();
    source.pause();
    here.triggerRepaint();
  }
  if (tiles && here.getSource("scene")) here.refreshTiles("scene");
}

export function veil(opacity: number): void {
  for (const id of ["view", "scene"]) if (theMap().getLayer(id)) theMap().setPaintProperty(id, "raster-opacity", opacity);
}

export function ground(dark: boolean): void {
  if (ready.value) theMap().setPaintProperty("ground", "background-color", groundOf(dark));
}
