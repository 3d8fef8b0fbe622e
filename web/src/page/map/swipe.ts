/** The image of the second date over the first one, cut at a line that one can move. */

import { Map as GlMap } from "maplibre-gl";
import type { Source } from "../types";
import { imageTiles, theMap } from "./map";
import { drawFound } from "./overlay";

let over: GlMap | null = null;
let follow: (() => void) | null = null;

export function cut(container: HTMLElement, part: number): void {
  container.style.clipPath = `inset(0 0 0 ${100 * part}%)`;
}

export function startSwipe(container: HTMLElement, source: Source, part: number): void {
  stopSwipe();
  const below = theMap();
  const made = new GlMap({
    container,
    style: {
      version: 8,
      sources: { image: imageTiles(source) },
      layers: [{ id: "image", type: "raster", source: "image", paint: { "raster-fade-duration": 0 } }],
    },
    center: below.getCenter(),
    zoom: below.getZoom(),
    interactive: false,
    attributionControl: false,
    renderWorldCopies: false,
    maxPitch: 0,
  });
  made.getCanvas().setAttribute("tabindex", "-1");
  made.once("load", () => drawFound(made));
  follow = () => made.jumpTo({ center: below.getCenter(), zoom: below.getZoom() });
  below.on("move", follow);
  over = made;
  cut(container, part);
}

export function stopSwipe(): void {
  if (follow) theMap().off("move", follow);
  over?.remove();
  over = null;
  follow = null;
}

/** What was found, on the later image too. */
export function findOver(): void {
  if (over?.isStyleLoaded()) drawFound(over);
}
