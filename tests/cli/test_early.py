"""What is wrong with a command line is told before anything heavy is loaded, by every verb."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from earthwords.cli.commands import COMMANDS
from tests.conftest import write_raster

HEAVY = ("torch", "transformers", "numba", "pandas", "geopandas", "rasterio", "scipy")
"""None of these is needed to see it."""

SCENE = "ortho.tif"
MISTAKES: list[tuple[str, int, str]] = [
    ("segment nofile.tif out -t tree", 1, "nofile.tif does not exist"),
    ("segment empty out -t tree", 2, "No raster was found for empty"),
    ("segment no*.tif out -t tree", 2, "No raster was found for no*.tif"),
    ("segment @nolist.txt out -t tree", 2, "Cannot read the list nolist.txt"),
    ("segment ortho.tif", 2, "DST is missing"),
    ("segment ortho.tif there.tif -t tree", 2, "there.tif exists; pass --overwrite"),
    ("segment ortho.tif out.docx -t tree", 2, "the suffix must be one of"),
    ("segment ortho.tif https://a.b/c.tif -t tree", 2, "is not a local path"),
    ("segment ortho.tif there.tif/out -t tree", 1, "there.tif is a file"),
    ("segment ortho.tif out", 2, "No words to look for"),
    ("segment ortho.tif out --classes no.txt", 2, "no.txt"),
    ("segment ortho.tif out -t tree --joint --upsampler jbu", 2, "leave --upsampler jbu out"),
    ("teach no.gpkg out --scenes ortho.tif", 1, "no.gpkg does not exist"),
    ("teach ortho.tif out --scenes nofile.tif", 1, "nofile.tif does not exist"),
    ("teach ortho.tif there.tif --scenes ortho.tif", 2, "there.tif is a file"),
    ("teach ortho.tif out --scenes ortho.tif --onto empty", 1, "empty is not a folder of `teach`"),
    ("teach ortho.tif out --scenes ortho.tif --preset tinny", 2, "Did you mean 'tiny'"),
    ("teach ortho.tif out --scenes ortho.tif --head lpp", 2, "--head"),
    ("segment ortho.tif out -t tree --preset segearth", 2, "Did you mean 'segearth-ov'?"),
    ("segment ortho.tif out -t tree --preset no.toml", 2, "Cannot read the preset no.toml"),
    ("segment ortho.tif out -t tree --preset odd.toml", 2, "Unknown attention 'gam'"),
    ("segment ortho.tif out -t tree --model openai-vit-b16", 2, "Did you mean 'openai-vit-b-16'?"),
    ("segment ortho.tif out -t tree --model ./no.pt", 1, "No checkpoint at ./no.pt"),
    ("segment ortho.tif out -t tree --attention gam", 2, "--attention"),
    ("segment ortho.tif out -t tree --upsampler jbuu", 2, "--upsampler"),
    ("segment ortho.tif out -t tree --upsampler-weights ./no.pt", 1, "No checkpoint at ./no.pt"),
    ("segment ortho.tif out -t tree --templates openai_80", 2, "Did you mean 'openai80'?"),
    ("segment ortho.tif out -t tree --memory lots", 2, "The memory is a size"),
    ("segment ortho.tif out -t tree --workers 0", 2, "At least one worker"),
    ("segment ortho.tif out -t tree --threshold 2", 2, "between 0 and 1, got 2"),
    ("segment ortho.tif out -t tree --co COMPRESS", 2, "is not KEY=VAL"),
    ("segment ortho.tif out -t tree --model pipe", 1, "Cannot read weights from pipe: it is a pipe, not a file"),
    ("segment ortho.tif out -t tree --templates pipe", 2, "Cannot read the template file pipe: it is a pipe"),
    ("segment ortho.tif out -t tree --mask nosuch.tif", 1, "nosuch.tif does not exist"),
    ("segment ortho.tif out -t tree --mask nosuch.tif:3,8-10", 1, "nosuch.tif does not exist"),
    ("segment ortho.tif out -t tree --mask vrt://pipe", 1, "pipe is a pipe, not a file"),
    ("segment ortho.tif out -t tree --against ,", 2, "--against"),
    ("segment vrt://pipe out -t tree", 1, "pipe is a pipe, not a file"),
    ("segment scenes theirs -t tree", 2, "theirs/batch.json was not written by earthwords and would be lost"),
    ("refer ortho.tif out -t tree --model pipe", 1, "Cannot read weights from pipe: it is a pipe, not a file"),
    ("refer ortho.tif out -t tree --mask nosuch.tif", 1, "nosuch.tif does not exist"),
    ("upsample ortho.tif out --mask nosuch.tif", 1, "nosuch.tif does not exist"),
    ("classify photo.png -t tree --mask nosuch.tif", 1, "nosuch.tif does not exist"),
    ("index ortho.tif new.index --mask nosuch.tif", 1, "nosuch.tif does not exist"),
    ("index ortho.tif theirs", 2, "theirs/index.json was not written by earthwords and would be lost"),
    ("index ortho.tif theirs --overwrite", 2, "theirs/index.json was not written by earthwords and would be lost"),
    ("search theirs trees --within nosuch.gpkg", 2, "There is no area at nosuch.gpkg, which does not exist"),
    ("search theirs trees --within pipe", 2, "There is no area at pipe, which is a pipe"),
    ("search theirs --like nosuch.tif", 1, "nosuch.tif does not exist"),
    ("search theirs trees --unlike nosuch.tif", 1, "nosuch.tif does not exist"),
    ("search theirs trees --like-geometry nosuch.gpkg", 2, "There is no area at nosuch.gpkg, which does not exist"),
    ("search theirs trees --unlike-geometry pipe", 2, "There is no area at pipe, which is a pipe"),
    ("search theirs --like vrt://pipe", 1, "pipe is a pipe, not a file"),
    ("search theirs trees --model pipe", 1, "Cannot read weights from pipe: it is a pipe, not a file"),
    ("evaluate scenes knn --data empty -o theirs", 2, "theirs/results.md was not written by earthwords"),
    ("evaluate segmentation loveda --data empty -o theirs", 2, "theirs/results.md was not written by earthwords"),
    ("evaluate referring list.jsonl -o theirs", 2, "theirs/results.md was not written by earthwords"),
    ("count nofile.tif out -t tree", 1, "nofile.tif does not exist"),
    ("count ortho.tif", 2, "DST is missing"),
    ("count ortho.tif out", 2, "No words to look for"),
    ("count ortho.tif out.tif -t tree", 2, "the suffix must be one of"),
    ("count ortho.tif out -t tree --expect bush=2", 2, "which is not counted"),
    ("count ortho.tif out -t tree --expect tree=two", 2, "whole number from 0"),
    ("count ortho.tif out -t tree --method peaks --as boxes", 2, "Peaks are points"),
    ("count ortho.tif out -t tree --zones no.gpkg", 1, "no.gpkg does not exist"),
    ("evaluate count no.gpkg ortho.tif", 1, "no.gpkg does not exist"),
    ("segment ortho.tif out -t tree --zones no.gpkg", 1, "no.gpkg does not exist"),
    ("segment ortho.tif out -t tree --aoi no.gpkg", 1, "no.gpkg does not exist"),
    ("refer ortho.tif out -t tree --aoi no.gpkg", 1, "no.gpkg does not exist"),
    ("refer nofile.tif out -t tree", 1, "nofile.tif does not exist"),
    ("refer ortho.tif there.tif -t tree", 2, "there.tif exists"),
    ("refer ortho.tif out.docx -t tree", 2, "the suffix must be one of"),
    ("refer ortho.tif out", 2, "Say what to point at by -t"),
    ("refer ortho.tif out --sentences no.txt", 2, "no.txt"),
    ("refer ortho.tif out -t tree --preset refseg-tinny", 2, "refseg-tiny"),
    ("refer ortho.tif out -t tree --model ./no", 1, "./no"),
    ("change ortho.tif nofile.tif out -t tree", 1, "nofile.tif does not exist"),
    ("change ortho.tif out -t tree", 2, "Name two dates and the destination"),
    ("change ortho.tif ortho.tif there.tif -t tree", 2, "there.tif exists; pass --overwrite"),
    ("change ortho.tif ortho.tif out.docx -t tree", 2, "the suffix must be one of"),
    ("change ortho.tif ortho.tif out", 2, "No words to look for"),
    ("change ortho.tif ortho.tif out -t tree --method densee", 2, "--method"),
    ("change ortho.tif ortho.tif out -t tree --theta 90", 2, "--theta is for the methods by masks (anychange, "),
    ("change ortho.tif ortho.tif out -t tree --no-instances", 2, "--no-instances is for the methods by masks"),
    ("change ortho.tif ortho.tif out -t tree --method anychange --theta 200", 2, "between 0 and 180 degrees, got 200"),
    ("change ortho.tif ortho.tif out -t tree --method anychange --click 4,x", 2, "--click is X,Y in BEFORE's CRS"),
    ("change ortho.tif ortho.tif out -t tree --click 4,5", 2, "--click is for the methods by masks (anychange, "),
    (
        "change ortho.tif ortho.tif out -t tree --method dynamicearth-mci --click 4,5",
        2,
        "--click belongs to anychange",
    ),
    ("change ortho.tif ortho.tif out -t tree --method anychange --segmenter regions", 2, "name one by --segmenter"),
    ("change ortho.tif ortho.tif out -t tree --method anychange --comparer dino", 2, "by SAM's own features"),
    ("change ortho.tif ortho.tif out -t tree --method dynamicearth-imc --comparer sam", 2, "name clip, dino or dinov2"),
    (
        "change ortho.tif ortho.tif out -t tree --method dynamicearth-imc --no-instances",
        2,
        "belongs to dynamicearth-mci",
    ),
    ("change ortho.tif ortho.tif out -t tree --search 0", 2, "--search must be above 0, got 0"),
    ("change ortho.tif ortho.tif out -t tree --preset tinny", 2, "Did you mean 'tiny'?"),
    ("suggest nofile.tif out.gpkg -t tree", 1, "nofile.tif does not exist"),
    ("suggest ortho.tif out.tif -t tree", 2, "Suggestions are one file of features, not out.tif"),
    ("suggest ortho.tif out.gpkg -t tree -n 0", 2, "-n 0 is too small"),
    ("suggest ortho.tif out.gpkg -t tree --rule margins", 2, "--rule"),
    ("suggest ortho.tif out.gpkg -t tree --marks nosuch.gpkg", 1, "nosuch.gpkg does not exist"),
    ("suggest ortho.tif out.gpkg -t tree --preset tinny", 2, "Did you mean 'tiny'?"),
    ("upsample nofile.tif out", 1, "nofile.tif does not exist"),
    ("upsample ortho.tif there.tif", 2, "there.tif exists"),
    ("upsample ortho.tif out.gpkg", 2, "the suffix must be one of"),
    ("upsample ortho.tif out --preset tinny", 2, "Did you mean 'tiny'?"),
    ("upsample ortho.tif out --model tinny", 2, "Did you mean 'tiny'?"),
    ("upsample ortho.tif out --components -1", 2, "a number, or all"),
    ("upsample ortho.tif out --pca no.safetensors", 1, "no.safetensors"),
    ("assess nofile.tif --draw 9 -o new.gpkg", 1, "nofile.tif does not exist"),
    ("assess ortho.tif", 2, "Give either --truth FILE, or --draw POINTS"),
    ("assess ortho.tif --draw 9", 2, "--out points.gpkg"),
    ("assess ortho.tif --draw 9 -o there.gpkg", 2, "there.gpkg exists; pass --overwrite"),
    ("assess ortho.tif --draw 9 -o new.docx", 2, "Points go into one file"),
    ("assess ortho.tif --draw 0 -o new.gpkg", 2, "--draw takes 1 to 100,000 points"),
    ("assess ortho.tif --standard-error 2 -o new.gpkg", 2, "--standard-error is a share"),
    ("assess ortho.tif --draw 9 -o new.gpkg --chips nosuch.tif", 1, "nosuch.tif does not exist"),
    ("assess ortho.tif --truth nosuch.gpkg", 1, "nosuch.gpkg does not exist"),
    ("assess ortho.tif --truth ortho.tif --classes no.txt", 1, "no.txt does not exist"),
    ("assess ortho.tif --truth ortho.tif -o there.tif", 2, "the suffix must be one of"),
    ("assess ortho.tif --truth ortho.tif --preset tinny", 2, "Did you mean 'tiny'?"),
    ("classify nofile.png -t tree", 1, "nofile.png does not exist"),
    ("classify -t tree", 2, "Name at least one image"),
    ("classify photo.png --shots nowhere", 2, "nowhere is not a folder"),
    ("classify photo.png", 2, "No words to look for"),
    ("classify photo.png there.csv -t tree", 2, "there.csv exists"),
    ("classify photo.png -t tree -o a.cvs", 2, "Unknown kind of table"),
    ("classify photo.png -t tree --model tinny", 2, "Did you mean 'tiny'?"),
    ("classify photo.png -t tree --templates aeriel", 2, "Did you mean 'aerial'?"),
    ("index nofile.tif new.index", 1, "nofile.tif does not exist"),
    ("index ortho.tif", 2, "earthwords index ARCHIVE... INDEX"),
    ("index ortho.tif there.tif", 2, "there.tif"),
    ("index ortho.tif new.index --preset tinny", 2, "Did you mean 'tiny'?"),
    ("index ortho.tif new.index --model tinny", 2, "Did you mean 'tiny'?"),
    ("search noindex trees", 2, "noindex"),
    ("search empty trees", 2, "empty"),
    ("search noindex trees there.csv", 2, "there.csv exists"),
    ("search noindex trees out.docx", 2, "out.docx"),
    ("search noindex", 2, "Say what to search for"),
    ("evaluate scenes knn --data nowhere -o out", 2, "nowhere is not a folder"),
    ("evaluate scenes knm --data empty -o out", 2, "Did you mean 'knn'?"),
    ("evaluate scenes knn --embeddings no.npz -o out", 2, "no.npz"),
    ("evaluate scenes knn --data empty -o out", 2, "holds no data set"),
    ("evaluate segmentation loveda --data nowhere -o out", 2, "nowhere is not a folder"),
    ("evaluate segmentation lovedda --data empty -o out", 2, "Did you mean 'loveda'?"),
    ("evaluate segmentation loveda -o out", 2, "--data ROOT"),
    ("evaluate segmentation empty --classes words.txt -o out", 2, "images and masks"),
    ("evaluate segmentation loveda --data empty -o out --preset tinny", 2, "Did you mean 'tiny'?"),
    ("evaluate segmentation loveda --data empty -o out --workers 0", 2, "--workers must be at least 1"),
    ("evaluate change -o out", 2, "Name the folders of pairs"),
    ("evaluate change nofolder -o out -t tree", 1, "nofolder does not exist"),
    ("evaluate referring -o out", 2, "Name the lists"),
    ("evaluate referring no.jsonl -o out", 1, "no.jsonl"),
    ("pairs nofile pairs.jsonl", 1, "nofile does not exist"),
    ("pairs empty", 2, "earthwords pairs SRC... DST"),
    ("pairs empty there.jsonl", 2, "there.jsonl exists"),
    ("pairs empty pairs.jsonl --min-visible 2", 2, "--min-visible is a share"),
    ("expressions nofile out.jsonl", 1, "nofile does not exist"),
    ("expressions empty there.jsonl", 2, "there.jsonl exists"),
    ("expressions empty out.jsonl --negatives 2", 2, "--negatives is a share"),
    ("data list lovedda", 2, "Did you mean 'loveda'?"),
    ("data prepare lovedda empty out", 2, "Did you mean 'loveda'?"),
    ("data prepare loveda nowhere out", 2, "nowhere is not a folder"),
    ("data check loveda nowhere", 2, "nowhere is not a folder"),
    ("train clip no.jsonl out", 1, "no.jsonl"),
    ("train clip list.jsonl out --model tinny", 2, "Did you mean 'tiny'?"),
    ("train clip list.jsonl out --architecture tinny", 2, "tinny"),
    ("train clip list.jsonl out --steps 0", 2, "--steps must be above 0"),
    ("train segment no.jsonl out", 1, "no.jsonl"),
    ("train segment list.jsonl out --val-data no.jsonl", 1, "no.jsonl"),
    ("train segment list.jsonl out --preset tinny", 2, "Did you mean 'tiny'?"),
    ("train segment list.jsonl out --model tinny", 2, "Did you mean 'tiny'?"),
    ("train segment list.jsonl out --lr 0", 2, "--lr must be above 0"),
    ("train segment list.jsonl out --learn lora", 2, "--learn lora is for --head none"),
    ("train segment list.jsonl out --head none --unlock", 2, "--learn says what learns"),
    ("change a.tif b.tif out -t x --network empty", 1, "a.tif does not exist"),
    ("train change nowhere out", 2, "nowhere is not a folder"),
    ("train change empty out", 2, "empty does not hold any known layout"),
    ("train change empty out --layout levircd", 2, "Did you mean 'levir-cd'?"),
    ("train change empty out --model tinny", 2, "Did you mean 'tiny'?"),
    ("train change empty out --lr 0", 2, "--lr must be above 0"),
    ("train change empty out --coral -1", 2, "--coral is 0 or more"),
    ("train refer no.jsonl out", 1, "no.jsonl"),
    ("train refer list.jsonl out --preset tinny", 2, "tinny"),
    ("train refer list.jsonl out --lr 0", 2, "--lr must be above 0"),
    ("train upsampler nofile.tif out", 1, "nofile.tif does not exist"),
    ("train upsampler empty out", 2, "No raster was found for empty"),
    ("train upsampler ortho.tif out --backbone tinny", 2, "Did you mean 'tiny'?"),
    ("train upsampler ortho.tif out --steps 0", 2, "--steps must be above 0"),
    ("models pull tinny", 2, "Did you mean 'tiny'?"),
    ("models show tinny", 2, "Did you mean 'tiny'?"),
    ("demo there", 2, "there/labels.tif exists"),
    ("demo new --preset tinny", 2, "Did you mean 'tiny'?"),
    ("completion tcsh", 2, "Choose from"),
    ("mcp nowhere", 1, "nowhere does not exist"),
    ("mcp ortho.tif", 2, "ortho.tif is not a folder"),
    ("serve nowhere", 1, "nowhere does not exist"),
    ("serve ortho.tif", 2, "ortho.tif is not a folder"),
    ("serve scenes --port 70000", 2, "between 0 and 65535"),
    ("serve scenes --no-token --host 0.0.0.0", 2, "--no-token is for 127.0.0.1 only"),
    ("serve scenes --preset tinny", 2, "Did you mean 'tiny'?"),
]
"""Command line, exit code, what is told."""

DRIVER = """
import contextlib, io, json, sys
from earthwords.cli import main

heavy, lines = json.loads(sys.argv[1])
told = []
for line in lines:
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        code = main(line.split())
    loaded = [name for name in heavy if name in sys.modules]
    for name in loaded:
        heavy.remove(name)  # of the command that loads it, not of those that follow
    told.append([code, err.getvalue(), loaded])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process says to all of them, and what it has loaded after each."""
    folder = tmp_path_factory.mktemp("early")
    rng = np.random.default_rng(1)
    write_raster(folder / SCENE, rng.integers(1, 255, (3, 40, 60)).astype(np.uint8), photometric="RGB")
    Image.fromarray(rng.integers(1, 255, (40, 60, 3)).astype(np.uint8)).save(folder / "photo.png")
    for name in ("there.tif", "there.csv", "there.jsonl", "there.gpkg"):
        (folder / name).write_text("mine")
    (folder / "words.txt").write_text("road\nroof\n")
    (folder / "odd.toml").write_text('base = "tiny"\nattention = "gam"\n')
    (folder / "list.jsonl").write_text('{"image": "photo.png", "set": "a", "captions": ["a roof"]}\n')
    (folder / "empty").mkdir()
    (folder / "there").mkdir()
    (folder / "there" / "labels.tif").write_text("mine")
    (folder / "theirs").mkdir()
    for name in ("batch.json", "index.json", "log.csv", "results.md", "report.html"):
        (folder / "theirs" / name).write_text('{"stac": "mine"}')
    (folder / "scenes").mkdir()
    shutil.copy(folder / SCENE, folder / "scenes")
    os.mkfifo(folder / "pipe")
    before = {path.name for path in folder.rglob("*")}
    lines = [line for line, _, _ in MISTAKES]
    argv = [sys.executable, "-c", DRIVER, json.dumps([HEAVY, lines])]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    left = sorted({path.name for path in folder.rglob("*")} - before)
    return {"left": left, **dict(zip(lines, json.loads(done.stdout), strict=True))}


@pytest.mark.parametrize(("line", "code", "fragment"), MISTAKES)
def test_a_mistake_is_told_at_once(told: dict[str, Any], line: str, code: int, fragment: str) -> None:
    found, sentence, loaded = told[line]
    assert (found, sentence.count("\n")) == (code, 1), sentence
    assert sentence.startswith("earthwords: ") and fragment in sentence
    assert loaded == [], f"{line} loads {loaded}"


def test_nothing_is_left_behind(told: dict[str, Any]) -> None:
    assert told["left"] == []


def test_every_verb_is_here() -> None:
    verbs = {row.name for row in COMMANDS} - {"doctor"}
    assert {name for name in verbs if any(line.startswith(f"{name} ") for line, _, _ in MISTAKES)} == verbs
