import type { JSX } from "preact";
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { locked, reachable } from "../api";
import { language, t } from "../i18n";
import * as state from "../state";
import type { Tab } from "../state";
import { Change, Count, Refer, Similar } from "./Asks";
import { Dialogs } from "./Dialogs";
import { Header } from "./Header";
import { Images } from "./Images";
import { Strips } from "./Jobs";
import { IconButton, Notes } from "./kit";
import { Legend } from "./Legend";
import { Look, Working } from "./Look";
import { MapBox } from "./MapBox";
import { Teach } from "./Teach";
import { Words } from "./Words";

const sheet = signal(true);

function tabs(): Tab[] {
  const all: Tab[] = ["words", "teach", "refer", "count", "change"];
  return state.library.value?.indexes.length ? [...all, "similar"] : all;
}

function Tabs(): JSX.Element {
  const all = tabs();
  const move = (event: KeyboardEvent): void => {
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!by) return;
    event.preventDefault();
    const next = all[(all.indexOf(state.tab.value) + by + all.length) % all.length]!;
    state.tab.value = next;
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={t("tab.title")} onKeyDown={move}>
      {all.map((each) => (
        <button
          key={each}
          type="button"
          role="tab"
          id={`tab-${each}`}
          aria-selected={state.tab.value === each}
          aria-controls="tab-panel"
          tabIndex={state.tab.value === each ? 0 : -1}
          onClick={() => (state.tab.value = each)}
        >
          {t(`tab.${each}` as "tab.words")}
        </button>
      ))}
    </div>
  );
}

function Asking(): JSX.Element {
  const tab = state.tab.value;
  return (
    <>
      <Tabs />
      <div id="tab-panel" role="tabpanel" aria-labelledby={`tab-${tab}`} class="stack">
        {tab === "words" && (
          <>
            <Words />
            <Look />
          </>
        )}
        {tab === "teach" && <Teach />}
        {tab === "refer" && <Refer />}
        {tab === "count" && <Count />}
        {tab === "change" && <Change />}
        {tab === "similar" && <Similar />}
      </div>
    </>
  );
}

function Alerts(): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const said = !reachable.value || locked.value || state.failure.value;
  useEffect(() => {
    if (said) box.current?.scrollIntoView({ block: "nearest" });
  }, [said]);
  return (
    <div role="alert" ref={box}>
      {!reachable.value && <p class="alert">{t("error.away")}</p>}
      {locked.value && <p class="alert">{t("error.locked")}</p>}
      {state.failure.value && !locked.value && (
        <p class="alert row tight">
          <span class="grow">{state.failure.value}</span>
          <IconButton icon="close" label={t("close")} onClick={() => (state.failure.value = null)} />
        </p>
      )}
    </div>
  );
}

export function App({ started }: { started: () => void }): JSX.Element {
  const [spoken, theme, name] = [language.value, state.dark.value ? "dark" : "light", state.source.value?.name]; // read here, so that changes are seen
  useEffect(() => {
    document.documentElement.lang = spoken === "zh" ? "zh-CN" : "en";
    document.documentElement.dataset.theme = theme;
    document.title = name ? `${name} – earthwords` : "earthwords";
  }, [spoken, theme, name]);
  return (
    <div class={sheet.value ? "page" : "page low"}>
      <MapBox started={started} />
      <aside class="panel" aria-label={t("panel.title")}>
        <IconButton
          icon="chevron"
          class="handle"
          label={t(sheet.value ? "panel.lower" : "panel.raise")}
          onClick={() => (sheet.value = !sheet.value)}
        />
        <Header />
        <div class="scroll">
          <Alerts />
          <Images />
          {state.source.value && <Asking />}
          <Working />
          <Strips />
          <Notes notes={state.notes.value.filter(({ kind }) => kind === "caution")} />
          <Legend />
          <Notes notes={state.notes.value.filter(({ kind }) => kind === "note")} />
        </div>
      </aside>
      <Dialogs />
      <div class="unseen" role="status" aria-live="polite">
        {state.said.value}
      </div>
    </div>
  );
}
