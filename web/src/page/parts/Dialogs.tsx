import type { JSX } from "preact";
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { download } from "../actions/export";
import type { Format } from "../actions/export";
import { cancel, forget, openResult, resume } from "../actions/jobs";
import { fail } from "../actions/run";
import { moment, one, t } from "../i18n";
import { remember, remembered } from "../memory";
import { jobs, result, working } from "../state";
import type { Job } from "../types";
import { dialog } from "./Header";
import { Dialog, IconButton } from "./kit";
import { Meter } from "./Jobs";

const close = (): void => {
  dialog.value = null;
};

/** Whether single keys do something; some people's tools of speech type letters. */
export const keys = signal(remembered("keys") !== "off");

const SHORTCUTS = ["/", "V", "G", "E", "H", "U", "F", "1–9", "M", "Ctrl+Z", "Ctrl+Y", "Esc", "?"] as const;

function Help(): JSX.Element {
  return (
    <Dialog title={t("help.title")} open={dialog.value === "help"} close={close}>
      <p>{t("help.text")}</p>
      <table class="shortcuts">
        <caption>{t("help.shortcuts")}</caption>
        <tbody>
          {SHORTCUTS.map((key, i) => (
            <tr key={key}>
              <th scope="row">
                <kbd>{key}</kbd>
              </th>
              <td>{t(`shortcut.${i}` as "shortcut.0")}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="hint">{t("help.map")}</p>
      <label class="row tight">
        <input
          type="checkbox"
          checked={keys.value}
          onChange={(event) => {
            keys.value = event.currentTarget.checked;
            remember("keys", keys.value ? "on" : "off");
          }}
        />
        {t("help.keys")}
      </label>
    </Dialog>
  );
}

function Past({ job }: { job: Job }): JSX.Element {
  const live = job.state === "running" || job.state === "queued";
  return (
    <li class="past" data-job={job.id}>
      <div class="row tight">
        <span class="grow">
          <span class="name">{job.label}</span>
          <br />
          <small class="hint">
            {moment(job.created)} · {one("state", job.state)}
          </small>
        </span>
        {job.result && (
          <button
            type="button"
            onClick={() => {
              close();
              void openResult(job.result!, true).catch(fail);
            }}
          >
            {t("history.open")}
          </button>
        )}
        {live && (
          <button type="button" onClick={() => void cancel(job.id)}>
            {t("job.cancel")}
          </button>
        )}
        {(job.state === "cancelled" || job.state === "failed") && (
          <button type="button" onClick={() => void resume(job.id)}>
            {t("job.resume")}
          </button>
        )}
        {!live && <IconButton icon="bin" label={t("history.delete", { label: job.label })} onClick={() => void forget(job)} />}
      </div>
      {live && <Meter job={job} />}
      {job.error && <p class="error">{job.error}</p>}
    </li>
  );
}

function History(): JSX.Element {
  return (
    <Dialog title={t("history.title")} open={dialog.value === "history"} close={close}>
      {jobs.value.length ? (
        <ul class="pasts">
          {jobs.value.map((job) => (
            <Past key={job.id} job={job} />
          ))}
        </ul>
      ) : (
        <p class="hint">{t("history.none")}</p>
      )}
    </Dialog>
  );
}

const FORMATS: Format[] = ["geotiff", "gpkg", "geojson", "pmtiles", "png"];

function Export(): JSX.Element {
  const [format, take] = useState<Format>("geotiff");
  const [least, setLeast] = useState(0);
  const [simplify, setSimplify] = useState(0);
  const offered = FORMATS.filter((each) => result.value !== null || each !== "pmtiles");
  const busy = working.value?.what === "export";
  return (
    <Dialog title={t("export.title")} open={dialog.value === "export"} close={close}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void download(format, least, simplify);
        }}
      >
        <p class="hint">{t("export.hint")}</p>
        <fieldset class="choice column">
          <legend>{t("export.format")}</legend>
          {offered.map((each) => (
            <label key={each}>
              <input type="radio" name="format" value={each} checked={format === each} onChange={() => take(each)} />
              <span>{t(`format.${each}` as "format.png")}</span>
            </label>
          ))}
        </fieldset>
        <label class="row tight">
          <span class="grow">{t("export.least")}</span>
          <input type="number" min="0" step="1" value={least} onInput={(event) => setLeast(event.currentTarget.valueAsNumber || 0)} />
        </label>
        <label class="row tight">
          <span class="grow">{t("export.simplify")}</span>
          <input type="number" min="0" step="0.5" value={simplify} onInput={(event) => setSimplify(event.currentTarget.valueAsNumber || 0)} />
        </label>
        <button type="submit" class="main" id="download" disabled={busy}>
          {t(busy ? "export.busy" : "export.download")}
        </button>
      </form>
    </Dialog>
  );
}

export function Dialogs(): JSX.Element {
  return (
    <>
      <Help />
      <History />
      <Export />
    </>
  );
}
