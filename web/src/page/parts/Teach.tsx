import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { saveTaught, suggest, teach } from "../actions/teach";
import { number, t } from "../i18n";
import { markCentre, redo, removeMark, steps, undo } from "../map/draw";
import type { Tool } from "../map/draw";
import * as state from "../state";
import { Hint, Icon, IconButton, Notes, Swatch } from "./kit";
import { Look } from "./Look";
import { FoundNotes, Places } from "./Places";
import { Words } from "./Words";

const TOOLS: Tool[] = ["pan", "point", "box", "polygon"];

function Tools(): JSX.Element {
  const { markClass, markNot, markTool, nextMark, titles } = state;
  return (
    <div class="stack">
      <fieldset class="choice">
        <legend>{t("teach.class")}</legend>
        {titles.value.map((title) => (
          <label key={title}>
            <input type="radio" name="mark-class" checked={markClass.value === title} onChange={() => (markClass.value = title)} />
            <Swatch colour={state.colours.value[title]} />
            {title}
          </label>
        ))}
        {markClass.value && (
          <label>
            <input type="checkbox" id="mark-not" checked={markNot.value} onChange={(event) => (markNot.value = event.currentTarget.checked)} />
            {t("teach.not", { word: markClass.value })}
          </label>
        )}
      </fieldset>
      <fieldset class="choice segmented">
        <legend>{t("teach.tool")}</legend>
        {TOOLS.map((tool) => (
          <label key={tool}>
            <input type="radio" name="mark-tool" value={tool} checked={markTool.value === tool} onChange={() => (markTool.value = tool)} />
            <span>{t(`tool.${tool}` as "tool.pan")}</span>
          </label>
        ))}
      </fieldset>
      <div class="row tight">
        <button type="button" id="mark-centre" class="grow" disabled={!nextMark.value} onClick={() => nextMark.value && markCentre(nextMark.value)}>
          {t("teach.centre")}
        </button>
        <IconButton icon="undo" label={t("teach.undo")} disabled={!steps.value.back} onClick={undo} />
        <IconButton icon="redo" label={t("teach.redo")} disabled={!steps.value.forward} onClick={redo} />
      </div>
    </div>
  );
}

function Marks(): JSX.Element {
  const features = state.marks.value.features;
  return (
    <details class="marks" open={features.length > 0 && features.length <= 4}>
      <summary>{t("teach.marks", { n: number(features.length) })}</summary>
      <ul>
        {features.map(({ geometry, properties }, i) => {
          const title = String(properties.class ?? "");
          const shape = t(geometry.type === "Point" ? "tool.point" : "tool.polygon");
          return (
            <li key={i} class="row tight">
              <Swatch colour={state.markColour(title)} />
              <span class="grow">
                {title} <small>{shape}</small>
              </span>
              <button type="button" class="quiet square" aria-label={t("teach.remove", { n: i + 1, word: title })} onClick={() => removeMark(i)}>
                <Icon name="bin" />
              </button>
            </li>
          );
        })}
      </ul>
    </details>
  );
}

const iou = (value: number | null): string => (value === null ? "–" : number(value, 2));

function Report(): JSX.Element | null {
  const learned = state.taught.value;
  const [name, write] = useState("");
  if (!learned) return null;
  return (
    <div class="stack">
      <Notes notes={learned.report.notes} />
      <table>
        <caption>{t("teach.table")}</caption>
        <thead>
          <tr>
            <th scope="col">{t("teach.column_class")}</th>
            <th scope="col">{t("teach.column_marks")}</th>
            <th scope="col">{t("teach.column_words")}</th>
            <th scope="col">{t("teach.column_taught")}</th>
          </tr>
        </thead>
        <tbody>
          {learned.report.rows.map((row) => (
            <tr key={row.class}>
              <th scope="row">{row.class}</th>
              <td>{number(row.marks)}</td>
              <td>{iou(row.words_iou)}</td>
              <td>{iou(row.taught_iou)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) void saveTaught(name.trim());
        }}
      >
        <input class="grow" type="text" value={name} required pattern="[A-Za-z0-9][A-Za-z0-9_\-]*" title={t("teach.name_hint")} aria-label={t("teach.name")} placeholder={t("teach.name")} onInput={(event) => write(event.currentTarget.value)} />
        <button type="submit" disabled={!name.trim()}>
          {t("teach.save")}
        </button>
      </form>
    </div>
  );
}

export function Teach(): JSX.Element {
  const { words, marks } = state;
  return (
    <div class="stack">
      <Hint of="teach.hint" />
      <Words />
      {words.value.length > 0 && (
        <>
          <Tools />
          <Marks />
          <div class="row">
            <button type="button" class="main grow" id="teach" disabled={!marks.value.features.length} onClick={() => void teach()}>
              {t("teach.button")}
            </button>
            <button type="button" class="grow" id="suggest" onClick={() => void suggest()}>
              {t("teach.next")}
            </button>
          </div>
          <FoundNotes kind="suggest" />
          <Places kind="suggest" />
          <Report />
          <Look />
        </>
      )}
    </div>
  );
}
