/** What the map does when the state changes. */

import { computed, effect } from "@preact/signals";
import { openMarks, recolour, startDrawing, takeTool } from "./map/draw";
import * as map from "./map/map";
import { showFound, showFrame, showOutlines } from "./map/overlay";
import { findOver } from "./map/swipe";
import { ink } from "./map/scores";
import { loadLibrary } from "./actions/open";
import { saveMarks } from "./actions/teach";
import { fail } from "./actions/run";
import * as state from "./state";

function paintWhatIsChosen(): void {
  let frame = 0;
  effect(() => {
    const inks = state.classes.value.map((one) => ink(one.colour, state.thresholds.value[one.title] ?? 0, state.isHidden(one)));
    const background = state.classes.value.findIndex((one) => one.background && !state.isHidden(one));
    const next = { inks, background, hatch: state.unsure.value, edges: state.moved.value };
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => map.repaint(next));
  });
  effect(() => map.veil(state.opacity.value));
}

const shownTitles = computed(() => state.classes.value.filter((one) => !state.isHidden(one)).map(({ title }) => title));

function showWhatIsOpen(): void {
  effect(() => {
    const source = state.source.value;
    map.showSource(source?.ready ? source : null);
  });
  effect(() => {
    const result = state.result.value;
    const areas = result && (result.kind === "segment" || result.kind === "teach");
    map.showResult(areas ? result : null, state.opacity.peek());
  });
  effect(() => {
    const result = state.result.value;
    const areas = result && (result.kind === "segment" || result.kind === "teach");
    const polygons = result?.complete && areas && result.files.some(({ name }) => /\.(gpkg|geojson|pmtiles|parquet)$/.test(name));
    // with other thresholds the outlines are those of the pixels, see `pixels`
    showOutlines(polygons && !state.moved.value ? result.id : null, shownTitles.value);
  });
  effect(() => {
    const view = state.result.value ? null : state.view.value;
    showFrame(view?.bounds ?? null);
    map.showView(view, state.opacity.peek()).catch(fail);
  });
  effect(() => {
    showFound(state.found.value?.features ?? null, state.colours.value);
    findOver();
  });
  effect(() => map.ground(state.dark.value));
}

function drawMarks(): void {
  let begun = false;
  effect(() => {
    if (state.tab.value === "teach" && !begun) {
      begun = true;
      startDrawing({
        current: () => state.nextMark.value,
        colour: state.markColour,
        changed: saveMarks,
      });
      openMarks(state.marks.peek());
    }
    if (begun) takeTool(state.tab.value === "teach" ? state.markTool.value : "pan");
  });
  effect(() => {
    if (state.colours.value) recolour();
  });
  effect(() => {
    const titles = state.titles.value;
    if (!titles.includes(state.markClass.peek() ?? "")) state.markClass.value = titles[0] ?? null;
  });
}

function readFolderAgain(): void {
  effect(() => {
    if (state.tab.value === "change") loadLibrary().catch(fail); // a later date may have come
  });
}

export function connect(): void {
  readFolderAgain();
  paintWhatIsChosen();
  showWhatIsOpen();
  drawMarks();
}
