"""Is this installation sound? Versions, GDAL drivers, devices, and a small end-to-end run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earthwords import _CONTENTS, __version__
from earthwords.presets import SEGMENT_PRESETS
from earthwords.refer_presets import REFER_PRESETS


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at."""

    what: str
    ok: bool
    found: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All checks."""

    checks: tuple[Check, ...]
    version: str
    """Of the package."""
    verbs: tuple[str, ...]
    """Functions of the package that are commands too, such as `segment`, `train_clip`."""
    devices: tuple[str, ...]
    """What `device` takes here."""
    presets: dict[str, tuple[str, ...]]
    """Names that `preset` takes, by verb: `segment` and `refer`."""

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return all(check.ok for check in self.checks)

    @property
    def exit_code(self) -> int:
        """1 when a check failed."""
        return 0 if self.ok else 1

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"ok": self.ok, **asdict(self)}

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        title = "All well" if self.ok else "Something is wrong"
        return title, ["check", "", "found"], [[c.what, "ok" if c.ok else "FAILED", c.found] for c in self.checks]


def doctor() -> Diagnosis:
    """Check the installation: libraries, drivers, devices, cache, weights, and a small self-test."""
    looks: dict[str, Callable[[], str]] = {
        "libraries": _libraries,
        "GDAL drivers": _drivers,
        "devices": _devices,
        "cache": _cache,
        "embedded weights": _weights,
        "words to map": _self_test,
    }
    checks = tuple(_look(what, look) for what, look in looks.items())
    presets = {"segment": tuple(SEGMENT_PRESETS), "refer": tuple(REFER_PRESETS)}
    return Diagnosis(checks=checks, version=__version__, verbs=_verbs(), devices=_device_names(), presets=presets)


def _verbs() -> tuple[str, ...]:
    return tuple(name for name, where in _CONTENTS.items() if where.startswith("earthwords.tasks."))


def _device_names() -> tuple[str, ...]:
    """As `--device` takes them; nothing where torch cannot be loaded, which a check tells."""
    try:
        import torch
    except Exception:
        return ()
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ("cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else []))


def _look(what: str, look: Callable[[], str]) -> Check:
    try:
        return Check(what=what, ok=True, found=look())
    except Exception as error:
        return Check(what=what, ok=False, found=f"{type(error).__name__}: {error}")


def _libraries() -> str:
    from importlib.metadata import version

    names = ("earthwords", "torch", "transformers", "rasterio", "pyogrio", "shapely", "numpy")
    return ", ".join(f"{name} {version(name)}" for name in names)


def _drivers() -> str:
    from earthwords.geo.drivers import missing_drivers

    missing = missing_drivers()
    if missing:
        raise RuntimeError(f"missing: {', '.join(missing)}; reinstall rasterio and pyogrio from wheels")
    return "COG, GTiff, VRT, GPKG, FlatGeobuf, GeoJSON"


def _devices() -> str:
    import torch

    names = [f"cpu ({torch.get_num_threads()} threads)"]
    names += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(names + (["mps"] if torch.backends.mps.is_available() else []))


def _cache() -> str:
    import tempfile

    from earthwords.models.weights.table import cache_folder

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
    return str(folder)


def _weights() -> str:
    import numpy as np

    from earthwords.models.weights.table import load_clip

    backbone = load_clip("tiny", offline=True)
    vectors = backbone.encode_text(["water", "road"]).detach().numpy()
    if not np.isfinite(vectors).all() or np.allclose(vectors[0], vectors[1]):
        raise RuntimeError("the text tower gives no sensible vectors")
    return f"tiny, {sum(p.numel() for p in backbone.parameters()) / 1e6:.1f} M parameters"


def _self_test() -> str:
    import tempfile

    from earthwords.tasks.demo import DemoResult, demo

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = demo(Path(folder) / "out", size=384, quiet=True)
    assert isinstance(result, DemoResult)
    if result.miou < 0.25:
        raise RuntimeError(f"mIoU {result.miou:.2f} on a rendered scene is far too low: the numbers are wrong here")
    return f"mIoU {result.miou:.2f} on a rendered scene, {time.perf_counter() - began:.1f} s"
