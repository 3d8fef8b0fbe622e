"""Files that would run code when they are read in the usual way do not run it here."""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import Command
from tests.hardening.originals import openai_state, small_clip
from tests.tasks.conftest import names


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.canary), "w")


Read = Callable[..., None]


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "was-here"


@pytest.fixture
def refused(command: Command, scene_file: Path, micro: Path, canary: Path, tmp_path: Path) -> Read:
    """`refused("--model", path)`: the command gives up in one sentence and nothing was run."""

    def read(*options: object, says: str = "") -> None:
        model = [] if "--model" in options else ["--model", micro]
        done = command(
            "segment", scene_file, tmp_path / "out", "-t", "road", "--quiet", "--tile-size", 64, *model, *options
        )
        assert done.code in (1, 2)
        done.failed(done.code, says)
        assert "Unexpected failure" not in done.err and "weights_only" not in done.err
        assert not canary.exists() and not (tmp_path / "out").exists()

    return read


def test_the_bomb_works(canary: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(canary))).close()
    assert canary.exists()


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.ckpt", "model.bin", "model.safetensors", "model.zip"])
@pytest.mark.parametrize("container", ["bare", "legacy", "zip"])
def test_checkpoints(refused: Read, canary: Path, tmp_path: Path, name: str, container: str) -> None:
    path = tmp_path / name
    _checkpoint(path, container, canary)
    refused("--model", path)
    refused("--upsampler", "simfeatup", "--upsampler-weights", path)


def _checkpoint(path: Path, container: str, canary: Path) -> None:
    state = {"state_dict": {"visual.conv1.weight": torch.zeros(3), "extra": Bomb(canary)}}
    if container == "bare":
        path.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=container == "zip")


def test_a_checkpoint_packed_in_a_zip(refused: Read, canary: Path, tmp_path: Path) -> None:
    _checkpoint(tmp_path / "epoch.pt", "zip", canary)
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.write(tmp_path / "epoch.pt", "epoch.pt")
    refused("--model", tmp_path / "model.zip")


@pytest.mark.parametrize("evil", ["data.pkl", "constants.pkl", "attributes.pkl"])
def test_torchscript_archives(refused: Read, canary: Path, tmp_path: Path, evil: str) -> None:
    code = f"def forward(self, x):\n    open({str(canary)!r}, 'w')\n"
    parts = {"data.pkl": pickle.dumps({}), "constants.pkl": pickle.dumps(()), "code/__torch__.py": code.encode()}
    with zipfile.ZipFile(tmp_path / "scripted.pt", "w") as archive:
        for name, content in {**parts, evil: pickle.dumps(Bomb(canary))}.items():
            archive.writestr(f"scripted/{name}", content)
    refused("--model", tmp_path / "scripted.pt")


def test_a_tar_of_the_first_pytorch(refused: Read, canary: Path, tmp_path: Path) -> None:
    """PyTorch's own words about it advise to load it unsafely."""
    with tarfile.open(tmp_path / "model.pth", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            (tmp_path / name).write_bytes(pickle.dumps(Bomb(canary)))
            archive.add(tmp_path / name, name)
    refused("--model", tmp_path / "model.pth", says="damaged, or no PyTorch file")


def test_a_zip_that_would_fill_the_disk(refused: Read, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("epoch.pt", bytes(50_000_000))
    refused("--model", tmp_path / "model.zip", says="unpacks to 50,000,000 bytes")


class TestFolders:
    """In transformers' layout."""

    @pytest.fixture
    def folder(self, micro: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(micro, tmp_path / "model"))

    @pytest.mark.parametrize("container", ["bare", "legacy", "zip"])
    def test_weights(self, refused: Read, folder: Path, canary: Path, container: str) -> None:
        (folder / "model.safetensors").unlink()
        _checkpoint(folder / "pytorch_model.bin", container, canary)
        refused("--model", folder)

    def test_shards(self, refused: Read, folder: Path, canary: Path) -> None:
        (folder / "model.safetensors").unlink()
        _checkpoint(folder / "part.bin", "zip", canary)
        index = folder / "pytorch_model.bin.index.json"
        index.write_text(json.dumps({"weight_map": {"logit_scale": "part.bin"}}))
        refused("--model", folder)

    def test_shards_from_elsewhere(self, refused: Read, folder: Path, tmp_path: Path) -> None:
        (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
        for name in ("../model.safetensors", str(tmp_path / "model.safetensors"), "missing.safetensors", 3):
            index = folder / "model.safetensors.index.json"
            index.write_text(json.dumps({"weight_map": {"logit_scale": name}}))
            refused("--model", folder, says="which is no file beside it")

    @pytest.mark.parametrize("file", ["config.json", "vocab.json", "merges.txt", "preprocessor_config.json"])
    def test_pickles_in_place_of_text(self, refused: Read, folder: Path, canary: Path, file: str) -> None:
        (folder / file).write_bytes(pickle.dumps(Bomb(canary), protocol=0))
        refused("--model", folder)

    def test_a_pickled_tokenizer(self, refused: Read, folder: Path, canary: Path) -> None:
        for file in ("vocab.json", "merges.txt"):
            (folder / file).unlink()
        (folder / "tokenizer.pkl").write_bytes(pickle.dumps(Bomb(canary)))
        (folder / "tokenizer.json").write_bytes(pickle.dumps(Bomb(canary), protocol=0))
        refused("--model", folder)

    def test_code_of_its_own(self, command: Command, folder: Path, scene_file: Path, canary: Path) -> None:
        (folder / "modeling_mine.py").write_text(f"open({str(canary)!r}, 'w')\nclass Mine: ...\n")
        config = json.loads((folder / "config.json").read_text())
        mine = {"auto_map": {"AutoModel": "modeling_mine.Mine", "AutoConfig": "modeling_mine.Mine"}}
        (folder / "config.json").write_text(json.dumps({**config, **mine, "trust_remote_code": True}))
        done = command(
            "segment", scene_file, folder / "out", "-t", "road", "--quiet", "--tile-size", 64, "--model", folder
        )
        assert done.code == 0, done.err
        assert not canary.exists()


def test_a_vrt_that_brings_python(command: Command, micro: Path, scene_file: Path, canary: Path) -> None:
    """GDAL runs it only where the user's environment says so."""
    band = f"""<VRTRasterBand dataType="Byte" band="{{}}" subClass="VRTDerivedRasterBand">
      <PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>
      <PixelFunctionCode><![CDATA[open({str(canary)!r}, "w")
def f(inputs, out, *rest, **options): out[:] = inputs[0]
]]></PixelFunctionCode>
      <SimpleSource><SourceFilename>{scene_file}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
    </VRTRasterBand>"""
    path = canary.with_name("scene.vrt")
    bands = "".join(band.format(number) for number in (1, 2, 3))
    path.write_text(f'<VRTDataset rasterXSize="190" rasterYSize="130">{bands}</VRTDataset>')
    out = canary.with_name("out")
    command("segment", path, out, "-t", "road", "--quiet", "--tile-size", 64, "--model", micro).failed(1, "scene.vrt")
    assert not canary.exists() and names(out) == set()


def test_tensors_that_claim_more_than_the_file_has(refused: Read, tmp_path: Path) -> None:
    state = {"visual.conv1.weight": torch.zeros(1).expand(2**34)}
    torch.save(state, tmp_path / "model.pt")
    refused("--model", tmp_path / "model.pt", says="far more than the file has")


def test_numbers_that_are_none(refused: Read, tmp_path: Path) -> None:
    state = openai_state(small_clip(vocab=640))
    state["ln_final.bias"][3] = float("nan")
    torch.save(state, tmp_path / "model.pt")
    refused("--model", tmp_path / "model.pt", says="NaN or infinite numbers in text_model.final_layer_norm.bias")
