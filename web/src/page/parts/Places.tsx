import type { JSX } from "preact";
import { openSource } from "../actions/open";
import { fail } from "../actions/run";
import { area, number, t } from "../i18n";
import { fit, theMap } from "../map/map";
import { found, library, result, source } from "../state";
import { Notes } from "./kit";
import type { Bounds, Feature } from "../types";

type Numbers = number | Numbers[];

function flat(coordinates: Numbers): [number, number][] {
  if (!Array.isArray(coordinates)) return [];
  if (typeof coordinates[0] === "number") return [coordinates as [number, number]];
  return coordinates.flatMap((inner) => flat(inner));
}

function box({ geometry }: Feature): Bounds {
  const points = flat(geometry.coordinates as Numbers);
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

async function go(feature: Feature): Promise<void> {
  const id = feature.properties.source;
  const known = typeof id === "string" && library.value?.sources.some((each) => each.id === id);
  const kept = found.value;
  if (known && source.value?.id !== id) {
    await openSource(String(id), false);
    found.value = kept;
  }
  const bounds = box(feature);
  if (feature.geometry.type === "Point") theMap().easeTo({ center: [bounds[0], bounds[1]], zoom: Math.max(theMap().getZoom(), 17), duration: 0 });
  else fit(bounds);
}

function told({ properties }: Feature, i: number): string {
  const parts: string[] = [];
  const title = properties.name ?? properties.class ?? properties.sentence;
  parts.push(typeof title === "string" && title ? title : t("found.place", { n: i + 1 }));
  if (typeof properties.reason === "string") parts.push(properties.reason);
  if (typeof properties.score === "number") parts.push(t("found.score", { score: number(properties.score, 2) }));
  if (typeof properties.area_m2 === "number") parts.push(area(properties.area_m2, "m2"));
  return parts.join(" · ");
}

const MOST = 60;

type Kind = "refer" | "count" | "change" | "suggest" | "similar";

/** What is known of the worth of what was found, cautions first. */
export function FoundNotes({ kind }: { kind: Kind }): JSX.Element | null {
  const notes = [...(found.value?.kind === kind ? (found.value.features.notes ?? []) : []), ...(result.value?.kind === kind ? result.value.notes : [])];
  return <Notes notes={[...notes.filter((one) => one.kind === "caution"), ...notes.filter((one) => one.kind !== "caution")]} />;
}

function Rows({ features, title, most }: { features: Feature[]; title: string | null; most: number }): JSX.Element {
  return (
    <>
      {title !== null && <h3 class="group">{title}</h3>}
      <ol class="places" aria-label={title ?? undefined}>
        {features.slice(0, most).map((feature, i) => (
          <li key={i}>
            <button type="button" class="quiet" onClick={() => void go(feature).catch(fail)}>
              <span class="rank">{i + 1}</span> {told(feature, i)}
            </button>
          </li>
        ))}
        {features.length > most && <li class="hint">{t("found.more", { n: number(features.length - most) })}</li>}
      </ol>
    </>
  );
}

/** The found outlines and points as a list, of counts class by class: each goes to its place on the map. */
export function Places({ kind }: { kind: Kind }): JSX.Element | null {
  const here = found.value;
  if (here?.kind !== kind) return null;
  const { features } = here.features;
  if (!features.length) return <p class="box">{t("found.nothing")}</p>;
  const titles = kind === "count" ? [...new Set(features.map(({ properties }) => String(properties.class ?? "")))] : [];
  if (titles.length < 2) return <Rows features={features} title={null} most={MOST} />;
  return (
    <>
      {titles.map((title) => (
        <Rows key={title} features={features.filter(({ properties }) => properties.class === title)} title={title} most={Math.ceil(MOST / titles.length)} />
      ))}
    </>
  );
}
