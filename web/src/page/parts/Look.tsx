import type { JSX } from "preact";
import { wholeScene } from "../actions/jobs";
import { look } from "../actions/look";
import { t } from "../i18n";
import { source, taught, words, working } from "../state";
import { forgetTaught } from "../actions/teach";

/** What is being worked on, with a button that stops it. */
export function Working(): JSX.Element | null {
  const now = working.value;
  if (!now || now.what === "open") return null;
  return (
    <div class="working" role="status">
      <span class="dots" aria-hidden="true" />
      <span class="grow">{t(`working.${now.what}` as "working.view")}</span>
      <button type="button" class="quiet" onClick={now.stop}>
        {t("stop")}
      </button>
    </div>
  );
}

export function Look(): JSX.Element {
  const none = !words.value.length || !source.value?.ready;
  return (
    <div class="stack">
      <div class="row">
        <button type="button" class="main grow" id="look" disabled={none} onClick={() => void look()}>
          {t("look.view")}
        </button>
        <button type="button" class="grow" id="whole" disabled={none} onClick={() => void wholeScene()}>
          {t("look.whole")}
        </button>
      </div>
      {taught.value && (
        <p class="box row">
          <span class="grow">{t("look.taught")}</span>
          <button type="button" class="quiet" onClick={() => void forgetTaught()}>
            {t("look.words_alone")}
          </button>
        </p>
      )}
    </div>
  );
}
