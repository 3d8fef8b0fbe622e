/** The other questions: a sentence, a count, two dates, similar places. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { count, counts, refer, similar } from "../actions/find";
import { submit } from "../actions/jobs";
import { number, t } from "../i18n";
import { picking } from "./MapBox";
import * as state from "../state";
import { Hint, Swatch } from "./kit";
import { FoundNotes, Places } from "./Places";
import { Words } from "./Words";

export function Refer(): JSX.Element {
  const [all, every] = useState(true);
  const { sentence, source } = state;
  const none = !sentence.value.trim();
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        if (!none) void refer(all);
      }}
    >
      <Hint of="refer.hint" />
      <label for="sentence">{t("refer.label")}</label>
      <input id="sentence" type="text" value={sentence.value} placeholder={t("refer.placeholder")} onInput={(event) => (sentence.value = event.currentTarget.value)} />
      <label class="row tight">
        <input type="checkbox" checked={all} onChange={(event) => every(event.currentTarget.checked)} />
        {t("refer.all")}
      </label>
      <div class="row">
        <button type="submit" class="main grow" disabled={none}>
          {t("look.view")}
        </button>
        <button
          type="button"
          class="grow"
          disabled={none}
          onClick={() => void submit("refer", { source: source.value!.id, sentences: [sentence.value.trim()] })}
        >
          {t("look.whole")}
        </button>
      </div>
      <FoundNotes kind="refer" />
      <Places kind="refer" />
    </form>
  );
}

export function Count(): JSX.Element {
  const { words, source, found } = state;
  const none = !words.value.length;
  const tally = found.value?.kind === "count" ? counts() : null;
  return (
    <div class="stack">
      <Hint of="count.hint" />
      <Words />
      <div class="row">
        <button type="button" class="main grow" disabled={none} onClick={() => void count()}>
          {t("count.view")}
        </button>
        <button type="button" class="grow" disabled={none} onClick={() => void submit("count", { source: source.value!.id, words: words.value })}>
          {t("look.whole")}
        </button>
      </div>
      <FoundNotes kind="count" />
      {tally && (
        <ul class="tally">
          {Object.entries(tally).map(([title, n]) => (
            <li key={title}>
              <Swatch colour={state.colours.value[title]} /> {title} <strong>{number(n)}</strong>
            </li>
          ))}
        </ul>
      )}
      <Places kind="count" />
    </div>
  );
}

export function Change(): JSX.Element {
  const { later, library, source, words } = state;
  const others = (library.value?.sources ?? []).filter(({ id }) => id !== source.value?.id);
  const second = others.some(({ id }) => id === later.value) ? later.value : null;
  return (
    <div class="stack">
      <Hint of="change.hint" />
      <p>
        {t("change.before")} <strong>{source.value?.name}</strong>
      </p>
      <label for="later">{t("change.after")}</label>
      <select id="later" value={second ?? ""} onChange={(event) => (later.value = event.currentTarget.value || null)}>
        <option value="">{t("change.choose")}</option>
        {others.map(({ id, name }) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
      </select>
      <Words />
      <button
        type="button"
        class="main"
        disabled={!second || !words.value.length}
        onClick={() => void submit("change", { sources: [source.value!.id, second!], words: words.value })}
      >
        {t("change.button")}
      </button>
      <FoundNotes kind="change" />
      <Places kind="change" />
    </div>
  );
}

export function Similar(): JSX.Element {
  const { library, words } = state;
  const indexes = library.value?.indexes ?? [];
  const [index, take] = useState(indexes[0]?.id ?? "");
  return (
    <div class="stack">
      <Hint of="similar.hint" />
      <label for="index">{t("similar.index")}</label>
      <select id="index" value={index} onChange={(event) => take(event.currentTarget.value)}>
        {indexes.map(({ id, name }) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
      </select>
      <button type="button" class="main" aria-pressed={picking.value !== null} onClick={() => (picking.value = picking.value ? null : index)}>
        {t(picking.value ? "similar.picking" : "similar.pick")}
      </button>
      <Words />
      <button type="button" disabled={!words.value.length} onClick={() => void similar(index, null)}>
        {t("similar.words")}
      </button>
      <FoundNotes kind="similar" />
      <Places kind="similar" />
    </div>
  );
}
