import type { JSX } from "preact";
import { signal } from "@preact/signals";
import { cancel, resume } from "../actions/jobs";
import { duration, number, one, t } from "../i18n";
import { jobs, running, watched } from "../state";
import type { Job } from "../types";
import { IconButton } from "./kit";

/** Ended jobs whose strip was put away. */
const away = signal<ReadonlySet<string>>(new Set());

function told({ progress, state }: Job): string {
  if (!progress || progress.done === null) return progress?.what ?? one("state", state);
  const total = progress.total === null ? number(progress.done) : t("job.of", { done: number(progress.done), total: number(progress.total) });
  const parts = [`${total} ${progress.unit ?? ""}`.trim()];
  if (progress.rate) parts.push(t("job.rate", { rate: number(progress.rate, 1) }));
  if (progress.left_s !== null && progress.left_s !== undefined && state === "running") parts.push(t("job.left", { time: duration(progress.left_s) }));
  return parts.join(" · ");
}

export function Meter({ job }: { job: Job }): JSX.Element {
  const { progress } = job;
  const part = progress?.total && progress.done !== null ? progress.done / progress.total : undefined;
  const value = part === undefined ? {} : { value: part };
  return (
    <div class="meter">
      <progress aria-label={job.label} max={1} {...value} />
      <span class="hint">{told(job)}</span>
    </div>
  );
}

function Strip({ job }: { job: Job }): JSX.Element {
  const live = job.state === "running" || job.state === "queued";
  return (
    <li class={`strip ${job.state}`} data-job={job.id} data-state={job.state}>
      <div class="row">
        <span class="grow">
          <span class="name">{job.label}</span> <span class="state">{one("state", job.state)}</span>
        </span>
        {live && (
          <button type="button" onClick={() => void cancel(job.id)}>
            {t("job.cancel")}
          </button>
        )}
        {!live && (
          <button type="button" class="main" onClick={() => void resume(job.id)}>
            {t("job.resume")}
          </button>
        )}
        {!live && (
          <IconButton icon="close" label={t("job.put_away")} onClick={() => (away.value = new Set([...away.value, job.id]))} />
        )}
      </div>
      {live && <Meter job={job} />}
      {job.state === "cancelled" && <p class="hint">{t("job.kept")}</p>}
      {job.error && <p class="error">{job.error}</p>}
    </li>
  );
}

/** Jobs at work, and those that were stopped while the page was open. */
export function Strips(): JSX.Element | null {
  const stopped = jobs.value.filter(
    ({ id, state }) => (state === "cancelled" || state === "failed") && watched.value.has(id) && !away.value.has(id),
  );
  const all = [...running.value, ...stopped];
  if (!all.length) return null;
  return (
    <section class="strips" aria-label={t("job.title")}>
      <ul>
        {all.map((job) => (
          <Strip key={job.id} job={job} />
        ))}
      </ul>
    </section>
  );
}
