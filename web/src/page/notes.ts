/** Sentences of the server as the page says them: its own controls for options, Chinese where a sentence is known. */

import { language } from "./i18n";
import rows from "./messages/notes.json";

const PAGE = rows.page.map(([pattern, said]) => [new RegExp(pattern!), said!] as const);
const CHINESE = rows.zh.map(([pattern, said]) => [new RegExp(`^${pattern!}$`), said!] as const);

const letters = (text: string, kind: RegExp): number => text.match(kind)?.length ?? 0;

export interface Said {
  text: string;
  /** Whether it is English on a page of another language. */
  foreign: boolean;
}

export function said(text: string): Said {
  if (language.value === "zh") {
    const known = CHINESE.find(([pattern]) => pattern.test(text));
    if (known) return { text: text.replace(...known), foreign: false };
  }
  const own = PAGE.reduce((sentence, [pattern, words]) => sentence.replace(pattern, words), text);
  const foreign = language.value === "zh" && letters(own, /[a-z]/gi) > letters(own, /\p{Script=Han}/gu);
  return { text: own, foreign };
}
