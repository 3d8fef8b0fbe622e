/** Small pieces that all parts use. */

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import type { Key } from "../i18n";
import { said } from "../notes";
import type { Note } from "../types";

const PATHS = {
  close: "M6 6l12 12M18 6L6 18",
  eye: "M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 9a3 3 0 100 6 3 3 0 000-6z",
  eyeOff: "M3 3l18 18M10 5.2A10 10 0 0112 5c6 0 10 7 10 7a17 17 0 01-3.3 4M6.5 6.6A17 17 0 002 12s4 7 10 7c1.700 0 3.200-.5 4.600-1.200",
  history: "M3 12a9 9 0 109-9 9 9 0 00-7 3.400M3 4v4h4M12 7v5l3 2",
  help: "M9 9a3 3 0 115 2.200c-1 .8-2 1.300-2 2.800M12 18h.01",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.400 1.400M17.600 17.600L19 19M5 19l1.400-1.400M17.600 6.400L19 5",
  moon: "M20 14.500A8 8 0 019.500 4 8 8 0 1020 14.500z",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  back: "M15 5l-7 7 7 7",
  download: "M12 4v11M7 11l5 5 5-5M4 20h16",
  link: "M10 14a4 4 0 006 0l3-3a4 4 0 00-6-6l-1.500 1.500M14 10a4 4 0 00-6 0l-3 3a4 4 0 006 6l1.500-1.500",
  undo: "M8 5L3 10l5 5M3 10h11a6 6 0 010 12h-3",
  redo: "M16 5l5 5-5 5M21 10H10a6 6 0 000 12h3",
  bin: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13",
  chevron: "M6 15l6-6 6 6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

interface ToolProps {
  icon: IconName;
  label: string;
  onClick: () => void;
  pressed?: boolean;
  disabled?: boolean;
  class?: string;
}

export function IconButton({ icon, label, onClick, pressed, disabled, class: more }: ToolProps): JSX.Element {
  const state = pressed === undefined ? {} : { "aria-pressed": pressed };
  return (
    <button type="button" class={`quiet square ${more ?? ""}`} aria-label={label} title={label} onClick={onClick} disabled={disabled} {...state}>
      <Icon name={icon} />
    </button>
  );
}

interface DialogProps {
  title: string;
  open: boolean;
  close: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, open, close, children }: DialogProps): JSX.Element | null {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open && box.current && !box.current.open) box.current.showModal();
  }, [open]);
  if (!open) return null;
  return (
    <dialog ref={box} onClose={close} onClick={(event) => event.target === box.current && box.current?.close()} aria-label={title}>
      <div class="dialog-head">
        <h2>{title}</h2>
        <IconButton icon="close" label={t("close")} onClick={() => box.current?.close()} />
      </div>
      <div class="dialog-body">{children}</div>
    </dialog>
  );
}

export function Notes({ notes }: { notes: Note[] }): JSX.Element | null {
  if (!notes.length) return null;
  const rows = notes.map(({ kind, text }) => ({ kind, key: text, ...said(text) }));
  const sorted = [...rows.filter(({ foreign }) => !foreign), ...rows.filter(({ foreign }) => foreign)];
  const first = sorted.find(({ foreign }) => foreign);
  return (
    <ul class="notes">
      {sorted.map((row) => (
        <li key={row.key} class={row.kind}>
          {row === first && <small class="original">{t("note.original")}</small>}
          <strong>{t(row.kind === "caution" ? "note.caution" : "note.note")}</strong> <span lang={row.foreign ? "en" : undefined}>{row.text}</span>
        </li>
      ))}
    </ul>
  );
}

export function Hint({ of }: { of: Key }): JSX.Element {
  return <p class="hint">{t(of)}</p>;
}

export function Swatch({ colour }: { colour: string | undefined }): JSX.Element {
  return <span class="swatch" style={{ background: colour ?? "#888" }} aria-hidden="true" />;
}
