// Bundles what stands in `web/src` into the Python package, with a list of the sources it was made from.
// `make web` runs it after `npm ci`; `sources.sha256` is what tests/web/test_bundle.py compares.
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const PACKAGE = join(HERE, "..", "src", "earthwords");
const WORKER = "node_modules/maplibre-gl/dist/maplibre-gl-worker.mjs";

// One row a bundle: its entry, the folder in the package, files that are copied beside it, and esbuild's own options.
const BUNDLES = [
  {
    entry: "src/page/main.tsx",
    out: "serve/static",
    copy: { "src/page/index.html": "index.html", "src/page/favicon.svg": "favicon.svg", [WORKER]: "maplibre-gl-worker.mjs" },
    options: {},
  },
  {
    entry: "src/widget/widget.ts",
    out: "viz/widget",
    copy: {},
    options: { plugins: [asText("worker-text")] },
  },
];

/** A file of a package as a string: `import text from "PREFIX:package/file"`. */
function asText(prefix) {
  return {
    name: prefix,
    setup(bundler) {
      bundler.onResolve({ filter: new RegExp(`^${prefix}:`) }, ({ path }) => ({
        namespace: prefix,
        path: join("node_modules", path.slice(prefix.length + 1)),
      }));
      bundler.onLoad({ filter: /.*/, namespace: prefix }, ({ path }) => ({
        contents: readFileSync(join(HERE, path), "utf-8"),
        loader: "text",
      }));
    },
  };
}

const OURS = ["package.json", "package-lock.json", "tsconfig.json", "build.mjs"];

function packageOf(path) {
  const parts = path.split("node_modules/");
  if (parts.length < 2) return null;
  const inside = parts.at(-1).split("/");
  return join("node_modules", inside[0].startsWith("@") ? `${inside[0]}/${inside[1]}` : inside[0]);
}

function licenceOf(folder) {
  const about = JSON.parse(readFileSync(join(HERE, folder, "package.json"), "utf-8"));
  const file = readdirSync(join(HERE, folder)).find((name) => /^licen[cs]e/i.test(name));
  const fallback = join(HERE, "licenses", `${about.license}.txt`);
  if (!file && !existsSync(fallback)) throw new Error(`${folder}: no text of the licence ${about.license}`);
  const author = typeof about.author === "object" ? about.author.name : about.author;
  const text = readFileSync(file ? join(HERE, folder, file) : fallback, "utf-8").trim();
  const head = `${about.name} ${about.version} (${about.license})${author ? `, by ${author}` : ""}`;
  return `${head}\n${"-".repeat(head.length)}\n${text}\n`;
}

function manifest(inputs) {
  const rows = inputs.map((path) => {
    const hash = createHash("sha256").update(readFileSync(join(HERE, path))).digest("hex");
    return `${hash}  web/${path}`;
  });
  return `${rows.join("\n")}\n`;
}

/** The icon into the page: Chromium asks for one with an address of its own again at every change of the link. */
function inlineIcon(out) {
  const [page, icon] = [join(out, "index.html"), join(out, "favicon.svg")];
  if (!existsSync(icon)) return;
  const data = `data:image/svg+xml;base64,${readFileSync(icon).toString("base64")}`;
  writeFileSync(page, readFileSync(page, "utf-8").replace(/(?<=rel="icon"[^>]*href=")[^"]*/, data));
}

for (const bundle of BUNDLES) {
  const out = join(PACKAGE, bundle.out);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const result = await build({
    absWorkingDir: HERE,
    entryPoints: [bundle.entry],
    outdir: out,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    legalComments: "none",
    jsx: "automatic",
    jsxImportSource: "preact",
    metafile: true,
    logLevel: "warning",
    ...bundle.options,
  });
  for (const [from, to] of Object.entries(bundle.copy)) cpSync(join(HERE, from), join(out, to));
  inlineIcon(out);
  const inputs = [...Object.keys(result.metafile.inputs), ...Object.keys(bundle.copy)];
  const packages = [...new Set(inputs.map(packageOf).filter(Boolean))].sort();
  writeFileSync(join(out, "LICENSES.txt"), packages.map(licenceOf).join("\n\n"));
  const ours = [...new Set([...inputs.filter((path) => !path.includes("node_modules/")), ...OURS])].sort();
  writeFileSync(join(out, "sources.sha256"), manifest(ours));
  const sizes = Object.entries(result.metafile.outputs).map(([path, { bytes }]) => `${relative(out, join(HERE, path))} ${Math.round(bytes / 1000)} kB`);
  console.log(`${bundle.out}: ${sizes.join(", ")}`);
}
