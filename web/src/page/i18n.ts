import { signal } from "@preact/signals";
import en from "./messages/en.json";
import zh from "./messages/zh.json";
import { remember, remembered } from "./memory";

export type Key = keyof typeof en;
export type Language = "en" | "zh";

const MESSAGES: Record<Language, Record<Key, string>> = { en, zh };

function preferred(): Language {
  const chosen = remembered("language");
  if (chosen === "en" || chosen === "zh") return chosen;
  return navigator.languages.some((each) => each.toLowerCase().startsWith("zh")) ? "zh" : "en";
}

export const language = signal<Language>(preferred());

export function speak(chosen: Language): void {
  language.value = chosen;
  remember("language", chosen);
}

/** The message of `key` in the language of the page, its `{blanks}` filled in. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  return MESSAGES[language.value][key].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** Message keys whose first part is `group`, such as `state.queued`. */
export function one(group: string, name: string): string {
  const key = `${group}.${name}`;
  return key in en ? t(key as Key) : name;
}

export function number(value: number, digits = 0): string {
  return new Intl.NumberFormat(language.value, { maximumFractionDigits: digits }).format(value);
}

export function percent(value: number): string {
  return new Intl.NumberFormat(language.value, { style: "percent", maximumFractionDigits: 0 }).format(value);
}

/** Square metres as a person would say them: ha, or km2 from 1,000 ha on, or m2 below 0.1 ha. */
export function area(value: number, unit: "m2" | "px"): string {
  if (unit === "px") return `${number(value)} px`;
  if (value >= 1e7) return `${number(value / 1e6, 1)} km²`;
  if (value >= 1000) return `${number(value / 1e4, value >= 1e5 ? 1 : 2)} ha`;
  return `${number(value, value >= 10 ? 0 : 1)} m²`;
}

export function bytes(value: number): string {
  if (value >= 1e9) return `${number(value / 1e9, 1)} GB`;
  if (value >= 1e6) return `${number(value / 1e6, 1)} MB`;
  return `${number(Math.max(1, value / 1e3))} kB`;
}

export function duration(seconds: number): string {
  if (seconds < 90) return t("time.seconds", { n: Math.max(1, Math.round(seconds)) });
  if (seconds < 5400) return t("time.minutes", { n: Math.round(seconds / 60) });
  return t("time.hours", { n: number(seconds / 3600, 1) });
}

export function moment(iso: string): string {
  return new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
}
