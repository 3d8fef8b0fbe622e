import type { JSX } from "preact";
import { effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { similar } from "../actions/find";
import { fail } from "../actions/run";
import { json } from "../api";
import { number, t } from "../i18n";
import * as map from "../map/map";
import { least } from "../map/scores";
import { cut, startSwipe, stopSwipe } from "../map/swipe";
import * as state from "../state";
import { Swatch } from "./kit";
import { scoreText } from "./Legend";

/** The index in which the place of the next click is looked for. */
export const picking = signal<string | null>(null);

interface Answer {
  class: string | null;
  score: number;
  second: string | null;
  second_score: number;
  lng: number;
  lat: number;
}

/** What the server says of the place that was clicked. */
const pinned = signal<Answer | null>(null);
effect(() => {
  if (state.source.value ?? state.view.value ?? state.result.value ?? true) pinned.value = null;
});

async function clicked({ lng, lat }: { lng: number; lat: number }): Promise<void> {
  if (picking.value) {
    const index = picking.value;
    picking.value = null;
    await similar(index, { lng, lat });
    return;
  }
  if (state.tab.value === "teach" && state.markTool.value !== "pan") return;
  const { result, view, showing } = state;
  const path = showing.value === "result" ? `/api/results/${result.value!.id}` : `/api/views/${view.value?.id}`;
  if (!showing.value || !state.classes.value.length) return;
  pinned.value = await json<Answer>(`${path}/point?lng=${lng}&lat=${lat}`);
}

function Readout(): JSX.Element | null {
  const here = map.pointed.value;
  const pin = pinned.value;
  const at = here ?? pin;
  if (!at) return null;
  const place = state.source.value?.georeferenced ? `${number(at.lat, 5)}, ${number(at.lng, 5)}` : "";
  const bytes = here?.bytes;
  const top = bytes ? state.classes.value[bytes[0] - 1] : undefined;
  const reached = top && bytes![1] >= least(state.thresholds.value[top.title] ?? 0);
  const one = reached ? top : state.classes.value.find(({ background }) => background);
  return (
    <div class="readout" data-class={(top && one?.title) ?? ""}>
      {top && bytes && (
        <span>
          {one && (
            <>
              <Swatch colour={one.colour} /> <strong>{one.title}</strong>{" "}
            </>
          )}
          {reached ? scoreText(bytes[1]) : <small>{t("readout.below", { word: top.title, score: scoreText(bytes[1]) })}</small>}
          {reached && <small> {t("readout.second", { score: scoreText(bytes[2]) })}</small>}
        </span>
      )}
      {bytes && !top && <span>{t("readout.nothing")}</span>}
      {pin?.class && (
        <span class="pin">
          {t("readout.clicked")} {pin.score < (state.thresholds.value[pin.class] ?? 0) ? (
            <small>{t("readout.below", { word: pin.class, score: number(pin.score, 2) })}</small>
          ) : (
            <>
              <strong>{pin.class}</strong> {number(pin.score, 2)}
            </>
          )}
          {pin.second && <small> · {pin.second} {number(pin.second_score, 2)}</small>}
        </span>
      )}
      <small class="place">{place}</small>
    </div>
  );
}

const part = signal(0.5);

function Swipe(): JSX.Element | null {
  const box = useRef<HTMLDivElement>(null);
  const second = state.library.value?.sources.find(({ id }) => id === state.later.value);
  const shown = state.tab.value === "change" && second && second.ready && second.id !== state.source.value?.id ? second : null;
  useEffect(() => {
    if (shown && box.current && map.ready.value) startSwipe(box.current, shown, part.peek());
    return stopSwipe;
  }, [shown?.id, map.ready.value]);
  useEffect(() => {
    if (box.current) cut(box.current, part.value);
  });
  if (!shown) return null;
  return (
    <>
      <div class="over" ref={box} aria-hidden="true" />
      <div class="swipe-line" style={{ left: `${100 * part.value}%` }} aria-hidden="true" />
      <span class="date left">{state.source.value?.day ?? state.source.value?.name}</span>
      <span class="date right">{shown.day ?? shown.name}</span>
      <input
        class="swipe"
        type="range"
        min="0"
        max="1"
        step="0.01"
        value={part.value}
        aria-label={t("change.swipe")}
        onInput={(event) => (part.value = event.currentTarget.valueAsNumber)}
      />
    </>
  );
}

export function MapBox({ started }: { started: () => void }): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    map
      .start(box.current!, state.dark.peek())
      .then(() => {
        map.theMap().on("click", (event) => void clicked(event.lngLat).catch(fail));
        started();
      })
      .catch(fail);
  }, []);
  return (
    <main class={picking.value ? "map picking" : "map"} aria-label={t("map.title")}>
      <div class="gl" ref={box} />
      <Swipe />
      <div class="cross" aria-hidden="true" />
      {map.drawing.value && (
        <p class="drawing" role="status">
          <span class="dots" aria-hidden="true" /> {t("image.drawing")}
        </p>
      )}
      <Readout />
      {!state.source.value && <p class="empty">{t("map.empty")}</p>}
    </main>
  );
}
