import { ask } from "../api";
import { bytes, t } from "../i18n";
import * as state from "../state";
import { run, say } from "./run";

export type Format = "geotiff" | "gpkg" | "geojson" | "pmtiles" | "png";

const SUFFIX: Record<Format, string> = { geotiff: "tif", gpkg: "gpkg", geojson: "geojson", pmtiles: "pmtiles", png: "png" };

/** The file of what is shown, decided by the server with the present thresholds. */
export async function download(format: Format, least: number, simplify: number): Promise<void> {
  const { result, view, thresholds } = state;
  const path = result.value ? `/api/results/${result.value.id}/export` : `/api/views/${view.value?.id}/export`;
  await run("export", async (signal) => {
    const body = { format, thresholds: thresholds.value, min_area: least, simplify };
    const response = await ask(path, { body, signal });
    const named = /filename="?([^";]+)"?/.exec(response.headers.get("Content-Disposition") ?? "");
    const name = named?.[1] ?? `earthwords.${SUFFIX[format]}`;
    const blob = await response.blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    say(t("export.done", { name, size: bytes(blob.size) }));
  });
}
