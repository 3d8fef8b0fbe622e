"""Numbers and paths of TOML presets."""

from __future__ import annotations

from pathlib import Path

import pytest

from earthwords.errors import UsageError
from earthwords.presets import SEGMENT_PRESETS, load_preset


def preset(path: Path, text: str) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("last_n = 0", "last_n must be at least 1, got 0"),
        ("energy = 0", "energy must be above 0 and at most 1, got 0"),
        ("energy = 1.01", "energy must be above 0 and at most 1, got 1.01"),
        ("energy = nan", "energy must be above 0 and at most 1, got nan"),
        ("logit_scale = 0.0", "logit_scale must be above 0 and at most 10,000, got 0.0"),
        ("logit_scale = inf", "logit_scale must be above 0"),
        ("threshold = -0.1", "threshold must be between 0 and 1, got -0.1"),
        ("threshold = 50", "threshold must be between 0 and 1, got 50"),
        ("cls_weight = nan", "cls_weight must be between -100 and 100, got nan"),
        ("tile_size = 0", "tile_size must be between 1 and 65,536 pixels, got 0"),
        ("tile_size = 99999999999999999999", "tile_size must be between 1 and 65,536 pixels"),
        ("overlap = -1", "overlap must be between 0 and 65,535 pixels, got -1"),
        ("tile_size = 64\noverlap = 64", "overlap must be smaller than tile_size (64), got 64"),
        ("gsd = [0.5, 0.25]", "gsd must be two positive numbers of metres, the finer one first, got [0.5, 0.25]"),
        ("gsd = [0, 1]", "gsd must be two positive numbers"),
        ("gsd = [nan, 1]", "gsd must be two positive numbers"),
        (f"gsd = [1, {'9' * 400}]", "gsd must be two positive numbers"),
        ("gsd = [true, 2]", "gsd must be tuple"),
        (f"energy = {'9' * 5000}", "Cannot read the preset"),
        (f"energy = {'[' * 5000}", "nested more than 64 levels deep"),
        ('weights = "a\\u0000/b"', "holds a NUL character"),
    ],
)
def test_numbers_out_of_range(tmp_path: Path, line: str, sentence: str) -> None:
    path = preset(tmp_path / "mine.toml", f'base = "tiny"\n{line}\n')
    with pytest.raises(UsageError) as error:
        load_preset(path)
    assert sentence in str(error.value) and "mine.toml" in str(error.value)
    assert len(str(error.value)) < 400 + len(path)


def test_numbers_at_the_ends_of_their_ranges(tmp_path: Path) -> None:
    text = "threshold = 1\nenergy = 1\nlast_n = 1\noverlap = 0\ntile_size = 16\ngsd = [1, 1]\nlogit_scale = 1e4\n"
    row = load_preset(preset(tmp_path / "ends.toml", f'base = "tiny"\n{text}'))
    assert (row.threshold, row.overlap, row.gsd) == (1, 0, (1, 1))


def test_every_preset_is_within_the_ranges(tmp_path: Path) -> None:
    for name, row in SEGMENT_PRESETS.items():
        side = max(224, row.overlap + 28)
        load_preset(preset(tmp_path / f"{name}.toml", f'base = "{name}"\ntile_size = {side}\n'))


def test_paths_are_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    text = 'base = "tiny"\nupsampler = "jbu"\nweights = "./model"\ntemplates = "words.txt"\n'
    path = preset(mine / "mine.toml", f'{text}upsampler_weights = "../up.ckpt"\n')
    (mine / "model").mkdir()
    (mine / "words.txt").write_text("{}")
    (tmp_path / "up.ckpt").write_text("")
    for folder in (tmp_path, mine):
        monkeypatch.chdir(folder)
        row = load_preset(path)
        assert Path(row.weights).samefile(mine / "model")
        assert Path(row.templates).samefile(mine / "words.txt")
        assert Path(row.upsampler_weights or "").samefile(tmp_path / "up.ckpt")


def test_a_base_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset(tmp_path / "deep" / "origin.toml", 'base = "tiny"\ntemplates = "words.txt"\n')
    (tmp_path / "deep" / "words.txt").write_text("{}")
    path = preset(tmp_path / "mine.toml", 'base = "deep/origin.toml"\nthreshold = 0.2\n')
    monkeypatch.chdir(tmp_path / "deep")
    row = load_preset(path)
    assert row.threshold == 0.2 and Path(row.templates).samefile(tmp_path / "deep" / "words.txt")


def test_names_stay_names(tmp_path: Path) -> None:
    """A folder that happens to be called like a row of the table does not take its place."""
    for name in ("tiny", "openai-vit-b-16", "aerial"):
        (tmp_path / name).mkdir()
    row = load_preset(preset(tmp_path / "mine.toml", 'weights = "openai-vit-b-16"\ntemplates = "aerial"\n'))
    assert (row.weights, row.templates) == ("openai-vit-b-16", "aerial")
    far = load_preset(preset(tmp_path / "far.toml", 'weights = "openai/clip-vit-base-patch16"\n'))
    assert far.weights == "openai/clip-vit-base-patch16"


def test_a_file_from_windows(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b'\xef\xbb\xbfbase = "tiny"\r\nthreshold = 0.3\r\n')
    assert load_preset(str(tmp_path / "mine.toml")).threshold == 0.3


def test_a_chain_of_bases_has_an_end(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i}.toml").write_text(f'base = "{i + 1}.toml"\n')
    (tmp_path / "40.toml").write_text('base = "tiny"\n')
    with pytest.raises(UsageError, match="more than 16 times"):
        load_preset(str(tmp_path / "0.toml"))
    assert load_preset(str(tmp_path / "30.toml")).weights == "tiny"
