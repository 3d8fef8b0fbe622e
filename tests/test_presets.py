"""Presets by name and from files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from earthwords.errors import UsageError
from earthwords.models.weights.resolve import resolve
from earthwords.presets import SEGMENT_PRESETS, load_preset


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_begins_from_another_one(tmp_path: Path) -> None:
    mine = write(tmp_path, "mine.toml", 'base = "segearth-ov"\nthreshold = 0.3\ngsd = [0.5, 2.0]\n')
    other = load_preset(write(tmp_path, "other.toml", f'base = "{mine}"\nname = "x"\nattention = "sclip"\n'))
    origin = SEGMENT_PRESETS["segearth-ov"]
    assert (other.name, other.attention, other.threshold, other.gsd) == ("x", "sclip", 0.3, (0.5, 2.0))
    assert (other.weights, other.upsampler, other.cls_weight) == (origin.weights, origin.upsampler, -0.3)
    assert load_preset(mine).name == "mine"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('base = "segearthov"', "Did you mean 'segearth-ov'"),
        ("thresold = 0.3", "unknown key 'thresold'. Did you mean 'threshold'"),
        ('base = "tiny"\nthreshold = "high"', "threshold must be float, got 'high'"),
        ('base = "tiny"\ntile_size = true', "tile_size must be int, got True"),
        (
            'base = "tiny"\nthresholds = 0.3',
            "thresholds must be a table of classes with numbers, such as { road = 0.4 }",
        ),
        ('base = "tiny"\nthresholds = { road = "x" }', "thresholds must be a table of classes"),
        ('base = "tiny"\nthresholds = { road = 1.5 }', "thresholds must be between 0 and 1 for every class"),
        ("threshold = 0.3", "name the weights, or a preset to begin from"),
        ("threshold = ", "Cannot read the preset"),
        ('base = "own.toml"', "is its own base"),
    ],
)
def test_a_file_that_says_nonsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "own.toml", text)
    with pytest.raises(UsageError) as error:
        load_preset("own.toml")
    assert sentence in str(error.value)


def test_no_upsampler(tmp_path: Path) -> None:
    """Said as on the command line; the weights of the one that goes, go too."""
    assert load_preset("segearth-ov").upsampler is not None
    plain = load_preset(write(tmp_path, "plain.toml", 'base = "segearth-ov"\nupsampler = "none"\n'))
    assert plain.upsampler is None and plain.upsampler_weights is None
    again = load_preset(write(tmp_path, "again.toml", f'base = "{tmp_path / "plain.toml"}"\nthreshold = 0.2\n'))
    assert again.upsampler is None and again.threshold == 0.2


def test_two_files_that_begin_from_each_other(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", f'base = "{tmp_path / "b.toml"}"')
    write(tmp_path, "b.toml", f'base = "{tmp_path / "a.toml"}"')
    with pytest.raises(UsageError, match="is its own base"):
        load_preset(str(tmp_path / "a.toml"))


def test_radar_belongs_to_the_weights_that_learned_it(micro: Path, tmp_path: Path) -> None:
    row = load_preset("segearth-ov-2-sar")
    assert (row.radar, row.last_n, row.attention, row.cls_weight) == (True, 2, "sclip", -0.3)
    assert resolve(row).row.radar and not resolve(replace(row, upsampler=None), model=micro).row.radar
    mine = load_preset(write(tmp_path, "mine.toml", f'base = "segearth-ov-2-sar"\nweights = "{micro}"\n'))
    own = load_preset(write(tmp_path, "own.toml", f'weights = "{micro}"\nradar = true\n'))
    assert (mine.radar, mine.last_n, own.radar) == (False, 2, True)


def test_other_weights_do_not_know_nothing(micro: Path, tmp_path: Path) -> None:
    """What fits no word was learned with a preset's weights."""
    row = replace(load_preset("tiny"), nothing=0.0)
    assert resolve(row).row.nothing == 0.0
    assert resolve(row, model=micro).row.nothing is None
    (tmp_path / "own.toml").write_text('base = "own-base.toml"\nweights = "openai-vit-b-32"\n')
    (tmp_path / "own-base.toml").write_text('base = "tiny"\nnothing = 0.25\n')
    assert load_preset(str(tmp_path / "own-base.toml")).nothing == 0.25
    assert load_preset(str(tmp_path / "own.toml")).nothing is None
    (tmp_path / "wrong.toml").write_text('base = "tiny"\nnothing = 2\n')
    with pytest.raises(UsageError, match="nothing must be between -1 and 1"):
        load_preset(str(tmp_path / "wrong.toml"))


def test_thresholds_of_classes(micro: Path, tmp_path: Path) -> None:
    text = 'base = "tiny"\nsum_to_one = true\n[thresholds]\nroad = 0.4\n"bare land" = 1\n'
    mine = load_preset(write(tmp_path, "mine.toml", text))
    assert mine.thresholds == (("road", 0.4), ("bare land", 1.0)) and mine.sum_to_one
    assert hash(mine) and load_preset("tiny").thresholds == ()
    other = load_preset(write(tmp_path, "other.toml", 'base = "mine.toml"\nweights = "openai-vit-b-16"\n'))
    assert other.thresholds == (), "they were found for other weights"
    assert resolve(mine).row.thresholds == mine.thresholds
    assert resolve(mine, model=micro).row.thresholds == ()
