"use strict";
const view = document.getElementById("view"), stage = document.getElementById("stage");
const overlay = document.getElementById("overlay"), readout = document.getElementById("readout");
const width = Number(stage.dataset.width), height = Number(stage.dataset.height);
const place = JSON.parse(stage.dataset.transform), unit = stage.dataset.unit;
const rows = Array.from(document.querySelectorAll("tr[data-label]"));
const titles = new Map(rows.map((row) => [Number(row.dataset.label), row.dataset.title]));
let labels = null, scale = 1, left = 0, top_ = 0;

stage.style.width = width + "px";
stage.style.height = height + "px";

function moved() {
  stage.style.transform = `translate(${left}px, ${top_}px) scale(${scale})`;
  stage.classList.toggle("close", scale > 1.5);
}
function fit() {
  scale = Math.min(view.clientWidth / width, view.clientHeight / height);
  left = (view.clientWidth - width * scale) / 2;
  top_ = (view.clientHeight - height * scale) / 2;
  moved();
}
function zoom(factor, x, y) {
  const next = Math.min(64, Math.max(0.02, scale * factor));
  left = x - ((x - left) * next) / scale;
  top_ = y - ((y - top_) * next) / scale;
  scale = next;
  moved();
}

function paint() {
  if (!labels) return;
  const colours = new Map();
  for (const row of rows) {
    if (row.querySelector("input").checked) {
      const hex = parseInt(row.dataset.colour.slice(1), 16);
      colours.set(Number(row.dataset.label), [hex >> 16, (hex >> 8) & 255, hex & 255]);
    }
  }
  const filled = document.getElementById("fill").checked, lined = document.getElementById("outlines").checked;
  const image = new ImageData(width, height), data = image.data;
  for (let i = 0; i < labels.length; i++) {
    const colour = colours.get(labels[i]);
    if (!colour) continue;
    const col = i % width, label = labels[i];
    const edge = (col + 1 < width && labels[i + 1] !== label) || (col > 0 && labels[i - 1] !== label) ||
      (i >= width && labels[i - width] !== label) || (i + width < labels.length && labels[i + width] !== label);
    if (!(filled || (lined && edge))) continue;
    const dim = lined && edge && filled ? 0.7 : 1;
    data.set([colour[0] * dim, colour[1] * dim, colour[2] * dim, 255], 4 * i);
  }
  overlay.getContext("2d").putImageData(image, 0, 0);
}
function look() {
  overlay.style.opacity = Number(document.getElementById("opacity").value) / 100;
  for (const image of document.querySelectorAll("#stage img[data-layer]")) {
    const chosen = document.querySelector("input[name=layer]:checked");
    image.hidden = chosen !== null && image.dataset.layer !== chosen.value;
  }
}

async function start() {
  overlay.width = width;
  overlay.height = height;
  const source = document.getElementById("labels");
  await source.decode();
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  const data = context.getImageData(0, 0, width, height).data;
  labels = new Uint16Array(width * height);
  for (let i = 0; i < labels.length; i++) labels[i] = data[4 * i] + 256 * data[4 * i + 1];
  fit();
  look();
  paint();
  document.body.dataset.ready = "yes";
}

const fingers = new Map();
view.addEventListener("pointerdown", (event) => {
  view.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, event);
});
view.addEventListener("pointermove", (event) => {
  const box = view.getBoundingClientRect(), before = fingers.get(event.pointerId);
  if (before && fingers.size === 1) {
    left += event.clientX - before.clientX;
    top_ += event.clientY - before.clientY;
    moved();
  } else if (before && fingers.size === 2) {
    const other = Array.from(fingers.values()).find((finger) => finger.pointerId !== event.pointerId);
    const apart = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
    zoom(apart(event) / Math.max(1, apart(before)), (event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top);
  }
  if (before) fingers.set(event.pointerId, event);
  tell((event.clientX - box.left - left) / scale, (event.clientY - box.top - top_) / scale);
});
for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, (event) => fingers.delete(event.pointerId));
view.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = view.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
view.addEventListener("dblclick", fit);
view.addEventListener("keydown", (event) => {
  const step = 60, x = view.clientWidth / 2, y = view.clientHeight / 2;
  const keys = {
    "+": () => zoom(1.4, x, y), "=": () => zoom(1.4, x, y), "-": () => zoom(1 / 1.4, x, y), "0": fit,
    ArrowLeft: () => { left += step; moved(); }, ArrowRight: () => { left -= step; moved(); },
    ArrowUp: () => { top_ += step; moved(); }, ArrowDown: () => { top_ -= step; moved(); },
  };
  if (keys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    keys[event.key]();
  }
});

function tell(x, y) {
  const col = Math.floor(x), row = Math.floor(y), there = col >= 0 && row >= 0 && col < width && row < height;
  if (!there || !labels) { readout.textContent = ""; return; }
  const east = place[0] * x + place[1] * y + place[2], north = place[3] * x + place[4] * y + place[5];
  const digits = unit === "degree" ? 6 : 1;
  readout.textContent = `${titles.get(labels[row * width + col]) ?? "–"}  ·  ${east.toFixed(digits)}, ${north.toFixed(digits)}`;
}
document.getElementById("panel").addEventListener("input", () => { look(); paint(); });
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
document.getElementById("whole").addEventListener("click", fit);
addEventListener("resize", fit);
start();
