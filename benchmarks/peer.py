"""Open-vocabulary segmentation as people write it with transformers and rasterio: see `bench_peer.py`.

    python benchmarks/peer.py MODEL SCENE OUT WORD [WORD ...]

MODEL is a folder of CLIP in transformers' layout, or `tiny`, which transformers has no classes for: its two towers are
then loaded by this package and everything else stays the same. One file of labels is written, and nothing else.
"""

import sys

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from torch.nn import functional as F

TILE, STRIDE = 224, 112
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


def load(name, words):
    """A function from windows to patch features `(batch, dim, h, w)`, and unit vectors of the words."""
    if name == "tiny":
        from earthwords.models.clip.model import DenseMethod
        from earthwords.models.weights.table import load_clip

        tiny = load_clip("tiny")
        text = F.normalize(tiny.encode_text([f"an aerial photo of {word}." for word in words]), dim=-1)
        return lambda pixels: tiny.encode_dense(pixels, DenseMethod(attention="segearth")).values, text
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)
    tokens = tokenizer([f"an aerial photo of {word}." for word in words], padding=True, return_tensors="pt")
    text = model.text_projection(model.text_model(**tokens).pooler_output)

    def features(pixels):
        hidden = model.vision_model(pixels, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
        values = model.visual_projection(model.vision_model.post_layernorm(hidden))
        side = pixels.shape[-1] // model.config.vision_config.patch_size
        return values.transpose(1, 2).unflatten(2, (side, side))

    return features, F.normalize(text, dim=-1)


@torch.inference_mode()
def main(name, scene, out, words):
    features, text = load(name, words)
    with rasterio.open(scene) as source:
        height, width, profile = source.height, source.width, source.profile
        total, seen = torch.zeros(len(words), height, width), torch.zeros(height, width)
        rows, cols = ([*range(0, n - TILE, STRIDE), n - TILE] for n in (height, width))
        for row in rows:
            for col in cols:
                data = torch.from_numpy(source.read([1, 2, 3], window=Window(col, row, TILE, TILE)))
                values = F.normalize(features(((data / 255 - MEAN) / STD)[None]), dim=1)
                logits = torch.einsum("bdhw,qd->bqhw", values, text)
                part = slice(row, row + TILE), slice(col, col + TILE)
                total[:, *part] += F.interpolate(logits, size=(TILE, TILE), mode="bilinear")[0]
                seen[part] += 1
    labels = (total / seen).argmax(dim=0).numpy().astype(np.uint8)
    profile.update(count=1, dtype="uint8", compress="deflate")
    with rasterio.open(out, "w", **profile) as file:
        file.write(labels, 1)


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:])
