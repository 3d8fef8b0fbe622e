import type { JSX } from "preact";
import { closeSource, loadLibrary, openSource, prepare } from "../actions/open";
import { fail } from "../actions/run";
import { bytes, number, t } from "../i18n";
import { fit } from "../map/map";
import { library, opening, running, source } from "../state";
import type { Source, Sources } from "../types";
import { IconButton, Notes } from "./kit";
import { Meter } from "./Jobs";

function about(each: Source): string {
  const size = `${number(each.width)} × ${number(each.height)}`;
  const ground = each.georeferenced && each.gsd_m ? t("image.gsd", { gsd: number(each.gsd_m, 2) }) : t("image.ungeoreferenced");
  return [size, ground, bytes(each.size_bytes), each.day ?? ""].filter(Boolean).join(" · ");
}

function List(): JSX.Element {
  const here = library.value;
  if (!here) return <p class="hint">{t("image.loading")}</p>;
  return (
    <section aria-labelledby="images-title">
      <h2 id="images-title">{t("image.choose")}</h2>
      <p class="hint path">{here.folder}</p>
      {here.sources.length === 0 && (
        <p>
          {t("image.none")}{" "}
          <button type="button" onClick={() => void loadLibrary().catch(fail)}>
            {t("image.again")}
          </button>
        </p>
      )}
      {opening.value !== null && (
        <p class="working" role="status">
          <span class="dots" aria-hidden="true" /> {t("image.opening", { name: opening.value })}
        </p>
      )}
      <ul class="cards">
        {here.sources.map((each) => (
          <li key={each.id}>
            <button type="button" class="card" onClick={() => void openSource(each.id).catch(fail)}>
              <span class="name">{each.name}</span>
              <span class="hint">{about(each)}</span>
            </button>
          </li>
        ))}
      </ul>
      <LeftOut files={here.left_out} />
    </section>
  );
}

function LeftOut({ files }: { files: Sources["left_out"] }): JSX.Element | null {
  if (!files.length) return null;
  return (
    <details class="left-out">
      <summary>{t("image.left_out", { n: number(files.length) })}</summary>
      <ul>
        {files.map(({ name, reason }) => (
          <li key={name}>
            <span class="name">{name}</span> <small lang="en">{reason}</small>
          </li>
        ))}
      </ul>
    </details>
  );
}

function Prepare({ here }: { here: Source }): JSX.Element | null {
  if (here.ready) return null;
  const job = running.value.find(({ kind, arguments: given }) => kind === "prepare" && given.source === here.id);
  return (
    <div class="box">
      <p>{t("image.unprepared")}</p>
      {job || here.preparing ? (
        job ? <Meter job={job} /> : <p class="hint">{t("image.preparing")}</p>
      ) : (
        <button type="button" class="main" onClick={() => void prepare(here.id)}>
          {t("image.prepare")}
        </button>
      )}
    </div>
  );
}

export function Images(): JSX.Element {
  const here = source.value;
  if (!here) return <List />;
  return (
    <section aria-label={t("image.title")}>
      <div class="row image-row">
        <IconButton icon="back" label={t("image.others")} onClick={closeSource} />
        <div class="grow">
          <h2 class="name">{here.name}</h2>
          <p class="hint">{about(here)}</p>
        </div>
        <IconButton icon="fit" label={t("image.fit")} onClick={() => fit(here.bounds)} />
      </div>
      {!here.georeferenced && <Notes notes={[{ kind: "caution", text: t("image.no_place") }]} />}
      <Prepare here={here} />
    </section>
  );
}
