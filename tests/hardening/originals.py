"""Whole inputs of every kind that a command reads, small enough to be run hundreds of times."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.enums import ColorInterp
from rasterio.shutil import copy as gdal_copy
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from earthwords.models.upsamplers.anyup import AnyUp
from earthwords.models.upsamplers.jbu import JbuStack
from earthwords.models.upsamplers.simfeatup import JbuOne
from earthwords.text.tokenizer import ClipTokenizer
from tests.conftest import CRS, TRANSFORM
from tests.micro import patchwork, write_micro
from tests.models.layouts import Scripted, openai_state

HEIGHT, WIDTH = 150, 170
DIM = 16
WORDS = ("-t", "building,roof", "-t", "road", "-t", "water", "-t", "trees")
COMMON = ("--tile-size", "64", "--quiet", "--offline")


@dataclass(frozen=True, kw_only=True)
class Original:
    """A file that will be damaged, and the command line that reads it."""

    name: str
    file: Path
    options: Callable[[Path], list[str]]
    """Source and options of `segment`, given the path of the damaged copy."""
    raster: bool = False


def write_originals(folder: Path) -> list[Original]:
    """All of them, in the order of their names."""
    micro = write_micro(folder / "micro")
    sources = _rasters(folder / "rasters")
    scene = str(sources["striped.tif"])
    common = [*COMMON, "--model", str(micro)]

    def read(path: Path) -> list[str]:
        return [str(path), *common, *WORDS]

    found = [Original(name=name, file=path, options=read, raster=True) for name, path in sources.items()]

    def add(files: dict[str, Path], options: Callable[[Path], list[str]]) -> None:
        found.extend(Original(name=name, file=path, options=options) for name, path in files.items())

    add(_texts(folder / "texts", "classes"), lambda path: [scene, *common, "--classes", str(path)])
    add(_texts(folder / "texts", "templates"), lambda path: [scene, *common, *WORDS, "--templates", str(path)])
    add(_presets(folder / "texts", micro), lambda path: [scene, *COMMON, *WORDS, "--preset", str(path)])
    add(_folders(folder, micro), lambda path: [scene, *COMMON, *WORDS, "--model", str(path.parent)])
    add(_checkpoints(folder / "checkpoints"), lambda path: [scene, *COMMON, *WORDS, "--model", str(path)])
    for kind, module in (("simfeatup", JbuOne(DIM)), ("jbu", JbuStack(DIM)), ("anyup", AnyUp(16))):
        ups = ["--upsampler", kind, "--upsampler-weights"]
        file = _upsampler(folder / "checkpoints" / f"{kind}.ckpt", module)
        add({file.name: file}, lambda path, ups=ups: [scene, *common, *WORDS, *ups, str(path)])  # type: ignore[misc]
    return found


def _rasters(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    rgb = np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0)
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    five = np.stack([rgb[i % 3].astype(np.uint16) * (11 + i) for i in range(5)])
    floats = (rgb / 255).astype(np.float32)
    floats[:, :20, :30] = np.nan
    kinds: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "striped.tif": (rgb, {"nodata": 0}),
        "tiled_deflate.tif": (rgb, {**tiled, "compress": "deflate", "predictor": 2}),
        "lzw.tif": (rgb, {"compress": "lzw", "interleave": "band"}),
        "jpeg.tif": (rgb, {**tiled, "compress": "jpeg", "photometric": "ycbcr", "interleave": "pixel"}),
        "zstd.tif": (rgb, {**tiled, "compress": "zstd"}),
        "five_uint16.tif": (five, {**tiled, "compress": "lzw"}),
        "float32.tif": (floats, {"compress": "deflate", "predictor": 3, "nodata": np.nan}),
        "palette.tif": (rgb[:1] // 32, {"compress": "packbits"}),
        "big.tif": (rgb, {"BIGTIFF": "YES", "compress": "deflate"}),
        "masked.tif": (rgb, {**tiled, "compress": "deflate"}),
    }
    for name, (data, options) in kinds.items():
        _raster(folder / name, data, **options)
    _add_palette(folder / "palette.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(folder / "masked.tif", "r+") as dataset:
        dataset.write_mask(rgb[0] > 40)
    striped = folder / "striped.tif"
    gdal_copy(striped, folder / "cog.tif", driver="COG", blocksize=64, compress="deflate")
    gdal_copy(striped, folder / "scene.png", driver="PNG")
    gdal_copy(striped, folder / "scene.jpg", driver="JPEG")
    gdal_copy(striped, folder / "scene.vrt", driver="VRT")
    text = (folder / "scene.vrt").read_text().replace('relativeToVRT="1"', 'relativeToVRT="0"')
    (folder / "scene.vrt").write_text(text.replace(">striped.tif<", f">{striped}<"))
    return {path.name: path for path in sorted(folder.iterdir()) if path.suffix != ".xml"}


def _raster(path: Path, data: np.ndarray, **options: Any) -> None:
    count, height, width = data.shape
    profile = {"driver": "GTiff", "crs": CRS, "transform": TRANSFORM, **options}
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype=data.dtype, **profile) as dataset:
        dataset.write(data)


def _add_palette(path: Path) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {i: (30 * i, 255 - 30 * i, 10 * i, 255) for i in range(8)})
        dataset.colorinterp = [ColorInterp.palette]


def _texts(folder: Path, which: str) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    text = {
        "classes": "background\nbuilding,roof,house\nroad,street\nwater\ntrees,forest\nbare land\n",
        "templates": "an aerial photo of {}.\na satellite image of {}.\n{} seen from above.\n",
    }
    path = folder / f"{which}.txt"
    path.write_text(text[which])
    return {path.name: path}


def _presets(folder: Path, micro: Path) -> dict[str, Path]:
    path = folder / "preset.toml"
    path.write_text(
        f'base = "tiny"\nweights = "{micro}"\nname = "mine"\nattention = "clearclip"\nkeep_residual = false\n'
        "last_n = 1\nenergy = 1.0\ncls_weight = -0.3\nlogit_scale = 50\nthreshold = 0.1\n"
        'templates = "aerial"\ntile_size = 64\noverlap = 32\ngsd = [0.25, 4.0]\nactivation = "gelu"\n'
    )
    return {path.name: path}


def _folders(folder: Path, micro: Path) -> dict[str, Path]:
    """Files of Hugging Face folders, a folder a layout."""
    found = {f"hf/{path.name}": path for path in sorted(micro.iterdir())}
    model, tokenizer = small_clip(vocab=640), ClipTokenizer.train(["a road"], vocab_size=640, context=24)
    for layout in ("bin", "shards", "fast"):
        place = folder / layout
        place.mkdir()
        model.save_pretrained(place, max_shard_size="200KB" if layout == "shards" else "1GB")
        tokenizer.save(place)
        if layout == "bin":
            (place / "model.safetensors").unlink()
            torch.save(model.state_dict(), place / "pytorch_model.bin")
        if layout == "fast":
            _fast_tokenizer(place)
    found["bin/pytorch_model.bin"] = folder / "bin" / "pytorch_model.bin"
    found["shards/index"] = folder / "shards" / "model.safetensors.index.json"
    found["shards/first"] = min((folder / "shards").glob("*.safetensors"))
    found["fast/tokenizer.json"] = folder / "fast" / "tokenizer.json"
    return found


def _fast_tokenizer(place: Path) -> None:
    vocab = json.loads((place / "vocab.json").read_text())
    merges = (place / "merges.txt").read_text().splitlines()[1:]
    (place / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab, "merges": merges}}))
    (place / "vocab.json").unlink()
    (place / "merges.txt").unlink()


def _checkpoints(folder: Path) -> dict[str, Path]:
    """The layout of OpenAI and open_clip in every container, with the vocabulary of CLIP."""
    folder.mkdir()
    state = {name: value.half() for name, value in openai_state(small_clip(vocab=49_408)).items()}
    save_file(state, folder / "open_clip.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, folder / "epoch_3.pt")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Scripted(state)).save(folder / "scripted.pt")
    shutil.make_archive(str(folder / "packed"), "zip", folder, "epoch_3.pt")
    return {path.name: path for path in sorted(folder.iterdir())}


def _upsampler(path: Path, module: torch.nn.Module) -> Path:
    if isinstance(module, AnyUp):
        torch.save(module.state_dict(), path)
        return path
    state = {f"upsampler.{name}": value for name, value in module.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, path)
    return path


def small_clip(*, vocab: int) -> CLIPModel:
    """One block a tower, width 64, patch 16."""
    tower = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    words = {"vocab_size": vocab, "bos_token_id": vocab - 2, "eos_token_id": vocab - 1, "pad_token_id": 0}
    config = CLIPConfig(
        vision_config={**tower, "patch_size": 16, "image_size": 64, "projection_dim": DIM},
        text_config={**tower, **words, "max_position_embeddings": 24, "projection_dim": DIM},
        projection_dim=DIM,
    )
    torch.manual_seed(5)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model
