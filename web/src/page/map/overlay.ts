/** Outlines, points and frames over the scores. */

import type { FilterSpecification, GeoJSONSource, Map as GlMap } from "maplibre-gl";
import type { GeoJSON } from "geojson";
import type { Bounds, Feature, Features } from "../types";
import { remove, theMap } from "./map";

const OUTLINE = "#ffd23f";
const HALO = "#14191d";
const LAYERS = ["found-fill", "found-halo", "found-line", "found-point", "found-label"];

const label = (feature: Feature, rank: number): string => {
  const { properties } = feature;
  if (typeof properties.rank === "number") return String(properties.rank);
  return feature.geometry.type === "Point" ? String(rank + 1) : "";
};

let drawn: [Features | null, Record<string, string>] = [null, {}];

/** Draws features with their numbers; `colours` by class where there are classes. */
export function showFound(features: Features | null, colours: Record<string, string>): void {
  drawn = [features, colours];
  drawFound(theMap());
}

/** The same on another map that lies over the first one. */
export function drawFound(here: GlMap): void {
  const [features, colours] = drawn;
  for (const id of LAYERS) if (here.getLayer(id)) here.removeLayer(id);
  if (here.getSource("found")) here.removeSource("found");
  if (features === null) return;
  const rows = features.features.map((feature, i) => {
    const title = String(feature.properties.class ?? "");
    const properties = { ...feature.properties, label: label(feature, i), colour: colours[title] ?? OUTLINE };
    return { ...feature, properties };
  });
  here.addSource("found", { type: "geojson", data: { type: "FeatureCollection", features: rows } as GeoJSON });
  const areas = ["!=", ["geometry-type"], "Point"] as ["!=", ["geometry-type"], string];
  const points = ["==", ["geometry-type"], "Point"] as ["==", ["geometry-type"], string];
  const colour = ["get", "colour"] as ["get", string];
  here.addLayer({ id: "found-fill", type: "fill", source: "found", filter: areas, paint: { "fill-color": colour, "fill-opacity": 0.18 } });
  here.addLayer({ id: "found-halo", type: "line", source: "found", filter: areas, paint: { "line-color": HALO, "line-width": 4, "line-opacity": 0.7 } });
  here.addLayer({ id: "found-line", type: "line", source: "found", filter: areas, paint: { "line-color": colour, "line-width": 2 } });
  here.addLayer({
    id: "found-point",
    type: "circle",
    source: "found",
    filter: points,
    paint: { "circle-radius": 9, "circle-color": "#ffffff", "circle-stroke-color": colour, "circle-stroke-width": 3 },
  });
  here.addLayer({
    id: "found-label",
    type: "symbol",
    source: "found",
    filter: points,
    layout: { "text-field": ["get", "label"], "text-font": ["sans-serif"], "text-size": 11, "text-allow-overlap": true },
    paint: { "text-color": HALO },
  });
}

/** The outline of the view that was looked at. */
export function showFrame(bounds: Bounds | null): void {
  const here = theMap();
  if (bounds === null) {
    remove("frame");
    return;
  }
  const [w, s, e, n] = bounds;
  const ring = [[w, s], [e, s], [e, n], [w, n], [w, s]];
  const data: GeoJSON = { type: "Feature", properties: {}, geometry: { type: "LineString", coordinates: ring } };
  const source = here.getSource("frame") as GeoJSONSource | undefined;
  if (source) {
    void source.setData(data);
    return;
  }
  here.addSource("frame", { type: "geojson", data });
  here.addLayer(
    { id: "frame", type: "line", source: "frame", paint: { "line-color": "#ffffff", "line-width": 1.5, "line-dasharray": [3, 2] } },
    "over-scores",
  );
}

let outlined: string | null = null;

/** Outlines of the polygons of a finished scene that are of some classes, read by range from one file. */
export function showOutlines(result: string | null, titles: string[]): void {
  const here = theMap();
  const filter: FilterSpecification = ["in", ["get", "class"], ["literal", titles]];
  const url = `pmtiles://${location.origin}/api/results/${result}/polygons.pmtiles`;
  if (result !== null && outlined === url && here.getLayer("outlines")) {
    here.setFilter("outlines", filter);
    return;
  }
  remove("outlines");
  outlined = result === null ? null : url;
  if (result === null) return;
  here.addSource("outlines", { type: "vector", url });
  here.addLayer(
    { id: "outlines", type: "line", source: "outlines", "source-layer": "polygons", filter, paint: { "line-color": "#ffffff", "line-width": 1 } },
    "over-scores",
  );
}
