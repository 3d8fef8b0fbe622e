"""Lists of described images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthwords.data.manifests.expressions import mirrored, read_referring
from earthwords.errors import SourceError, UsageError
from tests.referring import write_list


def test_a_list_with_two_byte_masks(tmp_path: Path) -> None:
    manifest = read_referring(write_list(tmp_path, images=3))
    assert (len(manifest.lines), manifest.expressions) == (3, 9)
    line = manifest.lines[1]
    assert [(e.text, e.ids) for e in line.expressions][1:] == [("the blue roof", (300,)), ("both roofs", (1, 300))]
    image, mask = line.load()
    assert image.shape == (50, 70, 3) and mask.shape == (50, 70)
    assert (image[mask == 300][:, 2] > 200).all() and (image[mask == 1][:, 0] > 200).all()
    assert (mask[:, :35] != 300).all()
    other = write_list(tmp_path / "other", images=3)
    assert read_referring(other).digest == manifest.digest
    other.write_text(other.read_text().replace("both roofs", "two roofs"))
    assert read_referring(other).digest != manifest.digest


def test_masks_of_one_bit_and_with_a_palette(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (6, 9), np.uint8)).save(tmp_path / "a.png")
    shape = np.zeros((6, 9), bool)
    shape[1:3, 4:8] = True
    Image.fromarray(shape).save(tmp_path / "bit.png")
    palette = Image.fromarray(shape.astype(np.uint8) * 7, "P")
    palette.putpalette([0, 0, 0] * 7 + [9, 200, 30])
    palette.save(tmp_path / "palette.png")
    (tmp_path / "none.png").write_bytes((tmp_path / "bit.png").read_bytes())
    rows = [("bit.png", {"id": 1}), ("palette.png", {"id": 7}), ("none.png", {"ids": []})]
    lines = [{"image": "a.png", "mask": m, "expressions": [{"text": "it", **e}]} for m, e in rows]
    (tmp_path / "list.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    manifest = read_referring(tmp_path / "list.jsonl")
    assert [line.line for line in manifest.lines] == [1, 3, 5]
    for line, number in zip(manifest.lines, (1, 7, 1), strict=True):
        image, mask = line.load()
        assert image.shape == (6, 9, 3) and np.array_equal(mask == number, shape)
    assert manifest.lines[2].expressions[0].ids == ()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 2 is not JSON"),
        ('{"image": "a.png"}', 'needs "image" and "mask"'),
        ('{"image": "a.png", "mask": "b.png"}', '"expressions" must be a list'),
        ('{"image": "a.png", "mask": "b.png", "expressions": [{"id": 1}]}', 'an expression needs a "text"'),
        ('{"image": "a.png", "mask": "b.png", "expressions": [{"text": "x"}]}', "'x' needs \"id\", a number above 0"),
        ('{"image": "a.png", "mask": "b.png", "expressions": [{"text": "x", "ids": [0]}]}', "a number above 0"),
        ('{"image": "a.png", "mask": "b.png", "expressions": [{"text": "x", "id": true}]}', "a number above 0"),
    ],
)
def test_lines_that_say_nonsense(tmp_path: Path, line: str, sentence: str) -> None:
    path = write_list(tmp_path, images=1)
    path.write_text(path.read_text() + line)
    with pytest.raises(UsageError) as error:
        read_referring(path)
    assert sentence in str(error.value) and "line 2" in str(error.value)


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    path = write_list(tmp_path, images=2)
    first, second = read_referring(path).lines
    Image.fromarray(np.ones((50, 69), np.uint8)).save(first.mask)
    with pytest.raises(UsageError, match=r"Line 1: the mask is \(50, 69\), its image \(50, 70\)"):
        first.load()
    Image.fromarray(np.ones((50, 70), np.uint8)).save(second.mask)
    with pytest.raises(UsageError, match="Line 2: 'the blue roof' means object 300"):
        second.load()
    Image.fromarray(np.ones((50, 70, 3), np.uint8)).save(second.mask)
    with pytest.raises(UsageError, match="holds colours"):
        second.load()
    second.image.write_bytes(second.image.read_bytes()[:200])
    with pytest.raises(SourceError, match="Cannot read"):
        second.load()
    with pytest.raises(SourceError, match="Cannot read the list"):
        read_referring(tmp_path / "none.jsonl")
    path.write_text("\n")
    with pytest.raises(UsageError, match="lists no images"):
        read_referring(path)


def test_sentences_about_mirror_images() -> None:
    text = "The upper-left plane, Left of the northwestern tank above the leftover"
    assert mirrored(text, axis=1) == "The upper-right plane, Right of the northeastern tank above the leftover"
    assert mirrored(text, axis=0) == "The lower-left plane, Left of the southwestern tank below the leftover"
    for axis in (0, 1):
        assert mirrored(mirrored(text, axis=axis), axis=axis) == text
