import type { JSX } from "preact";
import { signal } from "@preact/signals";
import { language, speak, t } from "../i18n";
import { choose, dark } from "../state";
import { IconButton } from "./kit";

export const dialog = signal<"help" | "history" | "export" | null>(null);

export function Header(): JSX.Element {
  const other = language.value === "en" ? "zh" : "en";
  return (
    <header class="head">
      <h1>
        <img src="favicon.svg" alt="" width="22" height="22" />
        {t("app.name")}
      </h1>
      <div class="row tight">
        <IconButton icon="history" label={t("history.title")} onClick={() => (dialog.value = "history")} />
        <IconButton
          icon={dark.value ? "sun" : "moon"}
          label={t(dark.value ? "theme.light" : "theme.dark")}
          onClick={() => choose(dark.value ? "light" : "dark")}
        />
        <button type="button" class="quiet" lang={other} onClick={() => speak(other)} aria-label={t("language.switch")} title={t("language.switch")}>
          {other === "zh" ? "中文" : "EN"}
        </button>
        <IconButton icon="help" label={t("help.title")} onClick={() => (dialog.value = "help")} />
      </div>
    </header>
  );
}
