/** Score pictures: bytes are fetched once, painted as often as a slider moves. */

import { ask } from "../api";

/** R = top class + 1 (0: nothing observed), G = its score 0..250, B = the runner-up's score. */
export interface Scores {
  width: number;
  height: number;
  /** RGBA, row by row from the top. */
  data: Uint8ClampedArray;
}

/** How one class is painted. */
export interface Ink {
  colour: number; // 0xAABBGGRR
  least: number; // 0..250, the lowest score that counts
  hidden: boolean;
}

export interface Paint {
  inks: Ink[];
  /** The class that takes what reaches no threshold, if it is painted; -1: none does. */
  background: number;
  hatch: boolean;
  /** Whether the classes have white edges. */
  edges: boolean;
}

/** The lowest of the scores 0..250 that reaches a threshold. */
export const least = (threshold: number): number => Math.ceil(250 * threshold - 1e-9);

const WHITE = 0xffffffff;
const UNSURE = 25;
const HATCH = 6;

export function ink(colour: string, threshold: number, hidden: boolean): Ink {
  const value = Number.parseInt(colour.slice(1), 16);
  const abgr = (0xff000000 | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
  return { colour: abgr, least: least(threshold), hidden };
}

/** The pixels that `paint` shows, each `scale` x `scale` large; transparent where nothing is. */
export function pixels(scores: Scores, { inks, background, hatch, edges }: Paint, scale = 1): ImageData {
  const { width, height, data } = scores;
  const shown = new Uint8Array(width * height); // class + 1
  const out = new ImageData(width * scale, height * scale);
  const flat = new Uint32Array(out.data.buffer);
  const stride = width * scale;
  for (let row = 0, from = 0; row < height; row++) {
    for (let col = 0; col < width; col++, from += 4) {
      const own = inks[data[from]! - 1];
      const score = data[from + 1]!;
      if (own === undefined) continue;
      const reached = score >= own.least;
      const one = reached ? own : inks[background];
      if (one === undefined || one.hidden) continue;
      shown[row * width + col] = reached ? data[from]! : background + 1;
      const open = hatch && reached && score - data[from + 2]! <= UNSURE;
      for (let y = row * scale; y < (row + 1) * scale; y++) {
        for (let x = col * scale; x < (col + 1) * scale; x++) {
          if (!open || (x + y) % HATCH < HATCH / 2) flat[y * stride + x] = one.colour;
        }
      }
    }
  }
  if (edges && scale === 1) whiten(flat, shown, width);
  return out;
}

/** The pixels of a class beside another one, or beside nothing. */
function whiten(flat: Uint32Array, shown: Uint8Array, width: number): void {
  for (let i = 0; i < shown.length; i++) {
    const own = shown[i]!;
    if (!own) continue;
    const col = i % width;
    const beside = [col > 0 ? shown[i - 1] : own, col < width - 1 ? shown[i + 1] : own, shown[i - width] ?? own, shown[i + width] ?? own];
    if (beside.some((other) => other !== own)) flat[i] = WHITE;
  }
}

export async function decode(blob: Blob): Promise<Scores> {
  const bitmap = await createImageBitmap(blob, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, data: context.getImageData(0, 0, width, height).data };
}

export async function fetchScores(url: string, signal?: AbortSignal): Promise<Scores | null> {
  const response = await ask(url, signal ? { signal } : {});
  return response.status === 204 ? null : decode(await response.blob());
}

const MOST = 160;

/** Tiles of one result by `z/x/y`, the most recently used ones; null where the server has nothing yet. */
export class Tiles {
  private readonly kept = new Map<string, Scores | null>();

  constructor(readonly result: string) {}

  async get(key: string, signal?: AbortSignal): Promise<Scores | null> {
    let tile = this.kept.get(key);
    if (tile === undefined) {
      tile = await fetchScores(`/api/results/${this.result}/scores/${key}.png`, signal);
    } else {
      this.kept.delete(key);
    }
    this.kept.set(key, tile);
    if (this.kept.size > MOST) this.kept.delete(this.kept.keys().next().value!);
    return tile;
  }

  peek(key: string): Scores | null {
    return this.kept.get(key) ?? null;
  }

  /** Forgets the tiles that more of the run may fill. */
  forgetIncomplete(): void {
    for (const [key, tile] of this.kept) {
      if (tile === null || tile.data.some((value, i) => i % 4 === 0 && value === 0)) this.kept.delete(key);
    }
  }
}

const worldX = (lng: number): number => (lng + 180) / 360;
const worldY = (lat: number): number => {
  const sine = Math.sin((lat * Math.PI) / 180);
  return 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI);
};

function at(scores: Scores, u: number, v: number): [number, number, number] | null {
  const col = Math.floor(u * scores.width);
  const row = Math.floor(v * scores.height);
  if (col < 0 || row < 0 || col >= scores.width || row >= scores.height) return null;
  const from = 4 * (row * scores.width + col);
  return [scores.data[from]!, scores.data[from + 1]!, scores.data[from + 2]!];
}

/** The three bytes of a picture between two corners, in Mercator as it is drawn. */
export function atCorners(
  scores: Scores,
  [west, north]: [number, number],
  [east, south]: [number, number],
  lng: number,
  lat: number,
): [number, number, number] | null {
  const u = (worldX(lng) - worldX(west)) / (worldX(east) - worldX(west));
  const v = (worldY(lat) - worldY(north)) / (worldY(south) - worldY(north));
  return at(scores, u, v);
}

/** The three bytes of the finest kept tile there. */
export function atTiles(tiles: Tiles, finest: number, lng: number, lat: number): [number, number, number] | null {
  for (let z = finest; z >= 0; z--) {
    const x = worldX(lng) * 2 ** z;
    const y = worldY(lat) * 2 ** z;
    const tile = tiles.peek(`${z}/${Math.floor(x)}/${Math.floor(y)}`);
    if (tile) return at(tile, x % 1, y % 1);
  }
  return null;
}
