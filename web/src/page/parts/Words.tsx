import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { addWords, dropWord, look } from "../actions/look";
import { fail, later } from "../actions/run";
import { json } from "../api";
import { t } from "../i18n";
import { checked, colours, titles, words } from "../state";
import { Icon, Notes, Swatch } from "./kit";

interface Suggestion {
  word: string;
  known: boolean;
}

const tail = (text: string): string => text.split(/[,，、;；]/).at(-1)!.trim();

function Chips(): JSX.Element {
  return (
    <ul class="chips" aria-label={t("words.chips")}>
      {words.value.map((chip, i) => {
        const names = chip.split(",");
        const about = checked.value?.notes.some(({ text }) => names.some((name) => text.includes(`'${name}'`) || text.includes(`"${name}"`)));
        return (
          <li key={chip} class={about ? "chip doubtful" : "chip"}>
            <Swatch colour={colours.value[titles.value[i] ?? ""]} />
            <span>
              {names[0]}
              {names.length > 1 && <small> {names.slice(1).join(", ")}</small>}
            </span>
            <button type="button" aria-label={t("words.remove", { word: names[0]! })} onClick={() => dropWord(i)}>
              <Icon name="close" />
            </button>
          </li>
        );
      })}
    </ul>
  );
}

export function Words(): JSX.Element {
  const [text, write] = useState("");
  const [offers, offer] = useState<Suggestion[]>([]);
  const [active, activate] = useState(-1);
  const asking = useRef(
    later(120, (part: string) => {
      if (!part) {
        offer([]);
        return;
      }
      json<{ suggestions: Suggestion[] }>(`/api/words?q=${encodeURIComponent(part)}&limit=8`)
        .then(({ suggestions }) => {
          const input = document.activeElement;
          if (!(input instanceof HTMLInputElement) || tail(input.value) !== part) return; // one has typed on, or is done
          offer(suggestions);
          activate(-1);
        })
        .catch(fail);
    }),
  );

  const typed = (value: string): void => {
    write(value);
    asking.current(tail(value));
    if (!tail(value)) offer([]);
  };
  const done = (whole: string): void => {
    addWords(whole);
    typed("");
    offer([]);
  };
  const take = (word: string): void => done(text.slice(0, text.length - tail(text).length) + word);
  const pressed = (event: KeyboardEvent): void => {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      const chosen = offers[active];
      if (chosen) take(chosen.word);
      else if (text.trim()) done(text);
      else void look();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!offers.length) return;
      event.preventDefault();
      const next = active + (event.key === "ArrowDown" ? 1 : -1);
      activate((next + offers.length + 1) % (offers.length + 1) === offers.length ? -1 : (next + offers.length) % offers.length);
    } else if (event.key === "Escape" && offers.length) {
      event.stopPropagation();
      offer([]);
    } else if (event.key === "Backspace" && !text && words.value.length) {
      dropWord(words.value.length - 1);
    }
  };
  const open = offers.length > 0;
  return (
    <div class="words">
      <label for="words-input">{t("words.label")}</label>
      <Chips />
      <div class="row">
        <div class="combo grow">
          <input
            id="words-input"
            type="text"
            role="combobox"
            autocomplete="off"
            spellcheck={false}
            aria-expanded={open}
            aria-controls="words-offers"
            aria-autocomplete="list"
            aria-activedescendant={active >= 0 ? `offer-${active}` : undefined}
            aria-describedby="words-hint"
            placeholder={t("words.placeholder")}
            value={text}
            onInput={(event) => typed(event.currentTarget.value)}
            onKeyDown={pressed}
            onBlur={() => offer([])}
          />
          <ul id="words-offers" role="listbox" class="offers" aria-label={t("words.offers")} hidden={!open}>
            {offers.map(({ word, known }, i) => (
              <li
                key={word}
                id={`offer-${i}`}
                role="option"
                aria-selected={i === active}
                onMouseDown={(event) => {
                  event.preventDefault();
                  take(word);
                }}
              >
                {word}
                {!known && <small>{t("words.unknown")}</small>}
              </li>
            ))}
          </ul>
        </div>
        <button type="button" onClick={() => done(text)} disabled={!text.trim()}>
          {t("words.add")}
        </button>
      </div>
      <p class="hint" id="words-hint">
        {t("words.hint")}
      </p>
      <Notes notes={checked.value?.notes ?? []} />
    </div>
  );
}
