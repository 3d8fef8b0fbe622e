"""Checkpoints that claim more than they have are refused before anything of that size is made."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from earthwords.errors import EarthwordsError, WeightsError
from earthwords.models.weights.checkpoint import read_pytorch, read_state
from earthwords.models.weights.table import load_clip, load_upsampler_state
from tests.models.layouts import Scripted
from tests.special import KINDS, make, within


def rezipped(path: Path, change: Callable[[str, bytes], bytes], *, packed: bool = False) -> Path:
    """The same archive with other contents."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(name, change(name, data))
    return path


def saved(path: Path, **tensors: Any) -> Path:
    torch.save(tensors, path)
    return path


def pickled(old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    """A change of the pickle of a checkpoint."""

    def change(name: str, data: bytes) -> bytes:
        assert old in data or not name.endswith("data.pkl")
        return data.replace(old, new) if name.endswith("data.pkl") else data

    return change


def a_bomb(path: Path) -> None:
    rezipped(saved(path, a=torch.zeros(10**7)), lambda name, data: data, packed=True)


def a_storage(path: Path) -> None:
    """16 bytes that say they are 8 GB."""
    rezipped(saved(path, a=torch.arange(4.0)), pickled(b"K\x04t", b"J" + struct.pack("<i", 2**31 - 1) + b"t"))


def a_view(path: Path) -> None:
    """Rows 1 MB apart in 16 bytes."""
    rezipped(saved(path, a=torch.arange(4.0)), pickled(b"K\x04\x85", b"K\x02\x85").__call__)
    rezipped(path, pickled(b"K\x01\x85", b"J\x00\x00\x10\x00\x85"))


def a_stride(path: Path) -> None:
    saved(path, a=torch.zeros(1).expand(2**34))


def many_views(path: Path) -> None:
    one = torch.zeros(1000)
    saved(path, **{f"a{i}": one for i in range(1000)})


def called(name: str, args: bytes) -> Callable[[Path], None]:
    """A call in the place of a tensor."""

    def write(path: Path) -> None:
        module, _, function = name.rpartition(".")
        data = b"\x80\x02}X\x01\x00\x00\x00ac" + f"{module}\n{function}\n".encode() + args + b"Rs."
        rezipped(saved(path, a=torch.zeros(1)), lambda entry, old: data if entry.endswith("data.pkl") else old)

    return write


def legacy(path: Path) -> None:
    """8 GB in the layout of PyTorch before 1.6."""
    torch.save({"a": torch.arange(4.0)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert data.count(b"K\x04N") == 1
    path.write_bytes(data.replace(b"K\x04N", b"J" + struct.pack("<i", 2**31 - 1) + b"N"))


def a_length(path: Path) -> None:
    """A text of 4 exabytes in that layout."""
    torch.save({"a": torch.arange(4.0)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    start = data.index(b"\x80\x02}q", data.index(b"little_endian") + 40)
    path.write_bytes(data[:start] + b"\x80\x04\x8d" + struct.pack("<q", 2**62) + b"abc.")


def a_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = 10
            archive.addfile(info, io.BytesIO(b"\x80\x02K\x01." * 2))


def sparse(path: Path) -> None:
    saved(path, a=torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.ones(1), (10**6, 10**6)))


def meta(path: Path) -> None:
    saved(path, a=torch.empty(10**12, device="meta"))


def nested(path: Path) -> None:
    rezipped(saved(path, a=torch.zeros(1)), lambda n, d: b"\x80\x02" + b"]" * 3_000_000 if n.endswith(".pkl") else d)


def twins(path: Path) -> None:
    saved(path, a=torch.zeros(1))
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(next(name for name in archive.namelist() if name.endswith("data.pkl")), b"\x80\x02N.")


def scripted(change: Callable[[str, bytes], bytes], *, packed: bool = False) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.script(Scripted({"a.b": torch.zeros(4 if not packed else 10**7)})).save(path)
        rezipped(path, change, packed=packed)

    return write


def modules_of_modules(name: str, data: bytes) -> bytes:
    """Each module is twice in the one above."""
    if not name.endswith("data.pkl"):
        return data
    lines = [b"\x80\x02c__torch__\nM\n)\x81}bq\x00"]
    for i in range(60):
        twice = b"X\x01\x00\x00\x00ah%cX\x01\x00\x00\x00bh%c" % (i, i)
        lines.append(b"c__torch__\nM\n)\x81}(" + twice + b"ubq%c" % (i + 1))
    return b"".join(lines) + b"."


def header(text: bytes, claimed: int | None = None) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(struct.pack("<Q", len(text) if claimed is None else claimed) + text)

    return write


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "zeros.pt": (a_bomb, "unpacks to 40,00.,... bytes, more than 8 times the file"),
    "storage.pt": (a_storage, "claim more numbers than are there"),
    "view.pt": (a_view, "lies outside of its numbers"),
    "stride.pt": (a_stride, "claim 68,719,476,736 bytes, far more than the file has"),
    "views.pt": (many_views, "far more than the file has"),
    "bytearray.pt": (called("builtins.bytearray", b"J\xff\xff\xff\x7f\x85"), "asks for builtins.bytearray"),
    "tensor.pt": (called("torch.FloatTensor", b"J\xff\xff\xff\x7f\x85"), "asks for torch.FloatTensor"),
    "eval.pt": (called("builtins.eval", b"X\x01\x00\x00\x00a\x85"), "asks for builtins.eval, which is code"),
    "legacy.pt": (legacy, "claim more numbers than are there"),
    "length.pt": (a_length, "expected 4611686018427387904 bytes"),
    "empty.pt": (lambda path: path.touch(), "it is empty"),
    "old.pt": (a_tar, "it is damaged, or no PyTorch file"),
    "sparse.pt": (sparse, "asks for torch._utils._rebuild_sparse_tensor"),
    "meta.pt": (meta, "asks for torch._utils._rebuild_meta_tensor_no_storage"),
    "nested.pt": (nested, "more than 2,000,000 values"),
    "twins.pt": (twins, "some have the same name"),
    "scripted.pt": (scripted(lambda name, data: data, packed=True), "unpacks to 40,...,... bytes, more than 8 times"),
    "modules.pt": (scripted(modules_of_modules), "more modules than any model"),
    "header.safetensors": (header(b"{}", 2**62), "its header claims 4,611,686,018,427,387,904 bytes"),
    "brackets.safetensors": (header(b"[" * 10**6), "nested more than 64 levels"),
    "huge.safetensors": (
        header(b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'),
        "Cannot read weights",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_at_once(name: str, tmp_path: Path) -> None:
    write, sentence = HOSTILE[name]
    write(tmp_path / name)
    began = time.process_time()
    with pytest.raises(WeightsError, match=sentence) as error:
        read_state(tmp_path / name)
    assert time.process_time() - began < 20 and len(str(error.value)) < 600
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / name, f"epoch/{name}")
    with pytest.raises(WeightsError):
        read_state(tmp_path / "x.zip")


@pytest.mark.parametrize("name", ["zeros.pt", "storage.pt", "bytearray.pt"])
def test_in_little_memory(name: str, tmp_path: Path) -> None:
    """Nothing of the size that is claimed is made, not even for a moment."""
    write, _ = HOSTILE[name]
    write(tmp_path / name)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from earthwords.errors import WeightsError\n"
        "from earthwords.models.weights.checkpoint import read_state\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    read_state(Path(sys.argv[1]))\n"
        "except WeightsError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True)
    assert int(done.stdout) < 100 << 10, done.stderr  # KiB


class TestWhatIsReal:
    """Nothing that people really write is refused."""

    @pytest.fixture
    def state(self) -> dict[str, torch.Tensor]:
        draw = torch.Generator().manual_seed(0)
        whole = torch.randn(6, 40, generator=draw)
        return {
            "a": whole[1:3, ::2],
            "b": whole.T,
            "half": whole.half(),
            "bfloat": whole.bfloat16(),
            "ids": torch.arange(7),
            "flag": torch.tensor(True),
            "empty": torch.zeros(0, 5),
            "scalar": torch.tensor(2.5),
            "expanded": torch.arange(5).expand(1, 5),
            "parameter": torch.nn.Parameter(whole.clone()),
            "unsigned": torch.tensor([3, 4], dtype=torch.uint16),
            "eight": whole.to(torch.float8_e4m3fn),
            "complex": torch.complex(whole, whole),
        }

    @pytest.mark.parametrize("layout", ["new", "old", "training", "ordered"])
    def test_pytorch(self, layout: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
        new = layout != "old"
        if layout == "old":  # which has no name for these types
            state = {name: value for name, value in state.items() if name not in ("unsigned", "eight")}
        given: Any = state
        if layout == "training":
            net = torch.nn.Linear(3, 3)
            optimizer = torch.optim.AdamW(net.parameters())
            net(torch.ones(1, 3)).sum().backward()
            optimizer.step()
            about = {"epoch": 3, "name": "x", "args": [1, (2, None), {"lr": 1e-3}], "shape": torch.Size([1, 2])}
            given = {"state_dict": state, "optimizer": optimizer.state_dict(), "dtype": torch.float16, **about}
        elif layout == "ordered":
            given = OrderedDict(state)
            given._metadata = OrderedDict({"": {"version": 2}})
        torch.save(given, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
        found = read_state(tmp_path / "x.pt")
        assert found.keys() == state.keys()
        for name, value in state.items():
            assert found[name].dtype == value.dtype and torch.equal(found[name], value), name

    def test_safetensors(self, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
        plain = {name: value.detach().clone().contiguous() for name, value in state.items() if name != "complex"}
        save_file(plain, tmp_path / "x.safetensors", metadata={"format": "pt"})
        assert all(torch.equal(value, plain[name]) for name, value in read_state(tmp_path / "x.safetensors").items())

    def test_zeros_of_a_small_file_compress(self, tmp_path: Path) -> None:
        rezipped(saved(tmp_path / "x.pt", a=torch.zeros(1000)), lambda name, data: data, packed=True)
        assert read_state(tmp_path / "x.pt")["a"].shape == (1000,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x.pt", "x.safetensors", "x.zip", "x.ckpt"])
def test_what_is_no_file(name: str, kind: str, tmp_path: Path) -> None:
    path = make(kind, tmp_path / name)
    with pytest.raises(WeightsError, match=KINDS[kind]):
        within(10, lambda: read_state(path))
    if kind != "folder":  # a folder may be a model
        for load in (load_clip, load_upsampler_state):
            with pytest.raises(WeightsError, match=KINDS[kind]) as error:
                within(10, lambda load=load: load(str(path)))
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "vocab.json", "merges.txt", "preprocessor_config.json"]
)
def test_what_is_no_file_in_a_model_folder(name: str, kind: str, micro: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in micro.iterdir():
        if file.name != name:
            (folder / file.name).symlink_to(file)
    make(kind, folder / name)
    with pytest.raises(EarthwordsError) as error:
        within(20, lambda: load_clip(str(folder)))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_checkpoint_of_a_training_is_bounded_too(tmp_path: Path) -> None:
    a_stride(tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="far more than the file has"):
        read_pytorch(tmp_path / "x.pt")
