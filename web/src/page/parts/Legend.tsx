import type { JSX } from "preact";
import { area, number, percent, t } from "../i18n";
import * as state from "../state";
import type { Histogram, SceneClass } from "../types";
import { dialog } from "./Header";
import { IconButton, Swatch } from "./kit";
import { say } from "../actions/run";

const BARS = 50;
const TALL = 26;

/** Bars of the area at each score, as one path; heights by the square root, so that small ones are seen. */
function bars(areas: number[]): string {
  const sums = Array.from({ length: BARS }, (_, i) => areas.slice(i * 5, i * 5 + 5).reduce((sum, value) => sum + value, 0));
  sums[BARS - 1]! += areas[250] ?? 0;
  const most = Math.max(...sums, 1e-12);
  return sums.map((sum, i) => (sum ? `M${i} ${TALL}v${-TALL * Math.sqrt(sum / most)}h1V${TALL}z` : "")).join("");
}

function Scores({ areas, colour, from }: { areas: number[]; colour: string; from: number }): JSX.Element {
  return (
    <svg class="scores" viewBox={`0 0 ${BARS} ${TALL}`} preserveAspectRatio="none" aria-hidden="true">
      <path d={bars(areas)} fill={colour} />
      <rect class="below" x="0" y="0" width={from * BARS} height={TALL} />
    </svg>
  );
}

export function set(title: string, value: number): void {
  const kept = Math.round(Math.min(1, Math.max(0, value)) * 1000) / 1000;
  if (Number.isFinite(kept)) state.chosen.value = { ...state.chosen.value, [title]: kept };
}

function Row({ one, histogram }: { one: SceneClass; histogram: Histogram | null }): JSX.Element {
  const { title, colour } = one;
  const off = state.isHidden(one);
  const areas = histogram?.classes.find((each) => each.title === title)?.areas;
  const covered = state.areaOf(one);
  const size = covered !== null && histogram ? area(covered, histogram.unit) : "–";
  const slider = `least-${title}`;
  return (
    <li class={off ? "class off" : "class"} data-class={title}>
      <div class="row tight">
        <Swatch colour={colour} />
        {one.background ? (
          <span class="grow name">{t("legend.background", { word: title })}</span>
        ) : (
          <label class="grow name" for={slider}>
            {title}
          </label>
        )}
        <output class="area" for={slider}>
          {size}
        </output>
        <IconButton
          icon={off ? "eyeOff" : "eye"}
          label={t(off ? "legend.show" : "legend.hide", { word: title })}
          pressed={off}
          onClick={() => state.toggle(title)}
        />
      </div>
      {!one.background && <Least one={one} areas={areas} size={size} />}
    </li>
  );
}

function Least({ one, areas, size }: { one: SceneClass; areas: number[] | undefined; size: string }): JSX.Element {
  const { title, colour } = one;
  const threshold = state.thresholds.value[title] ?? 0;
  return (
      <div class="row tight">
        <div class="threshold grow">
          {areas && <Scores areas={areas} colour={colour} from={threshold} />}
          <input
            id={`least-${title}`}
            type="range"
            min="0"
            max="1"
            step="0.01"
            value={threshold}
            aria-valuetext={t("legend.at_least", { score: percent(threshold), area: size })}
            onInput={(event) => set(title, event.currentTarget.valueAsNumber)}
          />
        </div>
        <input
          type="number"
          min="0"
          max="1"
          step="0.01"
          value={number2(threshold)}
          aria-label={t("legend.threshold", { word: title })}
          onChange={(event) => set(title, event.currentTarget.valueAsNumber)}
        />
      </div>
  );
}

const number2 = (value: number): string => String(Math.round(value * 1000) / 1000);

async function copyLink(): Promise<void> {
  try {
    await navigator.clipboard.writeText(location.href);
    say(t("link.copied"));
    state.failure.value = null;
  } catch {
    state.failure.value = t("link.by_hand");
  }
}

function of(): string {
  if (state.showing.value === "view") return t(state.view.value?.fast ? "legend.coarse" : "legend.view");
  return t(state.result.value?.complete ? "legend.scene" : "legend.so_far");
}

export function Legend(): JSX.Element | null {
  const { classes, histogram, opacity, unsure, showing } = state;
  if (!showing.value || !classes.value.length) return null;
  const observed = histogram.value ? t("legend.observed", { area: area(histogram.value.observed, histogram.value.unit) }) : "";
  return (
    <section class="legend" aria-labelledby="legend-title">
      <div class="row tight">
        <div class="grow">
          <h2 id="legend-title">{of()}</h2>
          <p class="hint">{observed}</p>
        </div>
        <IconButton icon="link" label={t("link.copy")} onClick={() => void copyLink()} />
        <button type="button" id="export" onClick={() => (dialog.value = "export")}>
          {t("export.button")}
        </button>
      </div>
      <ul class="classes">
        {classes.value.map((one) => (
          <Row key={one.title} one={one} histogram={histogram.value} />
        ))}
      </ul>
      <div class="row options">
        <label class="row tight grow">
          {t("legend.opacity")}
          <input
            type="range"
            class="grow"
            id="opacity"
            min="0"
            max="1"
            step="0.05"
            value={opacity.value}
            onInput={(event) => (opacity.value = event.currentTarget.valueAsNumber)}
          />
        </label>
        <label class="row tight">
          <input type="checkbox" id="unsure" checked={unsure.value} onChange={(event) => (unsure.value = event.currentTarget.checked)} />
          <span class="hatched" aria-hidden="true" />
          {t("legend.unsure")}
        </label>
      </div>
      {Object.keys(state.chosen.value).some((title) => classes.value.some((one) => one.title === title)) && (
        <button type="button" class="quiet" onClick={() => (state.chosen.value = {})}>
          {t("legend.reset")}
        </button>
      )}
    </section>
  );
}

export const scoreText = (value: number): string => number(value / 250, 2);
