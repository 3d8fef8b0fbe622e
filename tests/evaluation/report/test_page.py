"""The page of `evaluate`, read back with the standard library's parser."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from earthwords.evaluation.report import page as page_module
from earthwords.evaluation.report.render import environment, render
from earthwords.evaluation.report.write import write_plots, write_results
from earthwords.evaluation.results import ResultEntry
from tests.evaluation.report.pages import COUNTS, SCORES, labelled, paint, published, read, scenes, table

EVIL = "\"><script>alert('1')</script><img src=x onerror=alert(2)>&amp;</title></style>"


def test_classes_of_two_models(tmp_path: Path) -> None:
    one, two = scenes(), scenes(model="other", scores=(12.5, 87.5))
    page = read(tmp_path, [one, two])
    found = table(page, "Accuracy of each class")
    assert found.rows() == [["class", "plain", "other"], ["hay", "75.0", "12.5"], ["corn", "50.0", "87.5"]]
    widths = [re.sub(r"[^\d.]", "", str(bar.attributes.get("style"))) for bar in found.all("i") if not bar.inside]
    assert widths == ["75.0", "12.5", "50.0", "87.5"]
    assert [bold.text for bold in found.all("b")] == ["75.0", "87.5"], "the better of the two"
    assert table(page, "All data sets").rows()[1:] == [
        ["meadows", "plain", "62.63", "99.52", "62.50", "test split, 6"],
        ["meadows", "other", "50.13", "99.52", "50.00", "test split, 6"],
    ]


def test_a_class_without_images_has_no_figure(tmp_path: Path) -> None:
    for nothing in (None, float("nan")):
        entry = scenes()
        entry.figures["per_class"] = [nothing, 40.0]
        found = table(read(tmp_path, [entry]), "Accuracy of each class")
        assert found.rows()[1:] == [["hay", "–"], ["corn", "40.0"]]


def test_other_classes_are_another_table(tmp_path: Path) -> None:
    page = read(tmp_path, [scenes(), replace(scenes(model="other"), classes=("hay", "maize"))])
    found = [each.rows() for each in page.all("table") if each.all("caption")[0].text == "Accuracy of each class"]
    assert [rows[0] for rows in found] == [["class", "plain"], ["class", "other"]] and found[1][2][0] == "maize"


def test_overview_has_a_figure_for_every_task(tmp_path: Path) -> None:
    entries = [
        labelled(miou=41.0), scenes("knn", "lakes"), labelled(miou=43.5, model="finer"), scenes(),
        scenes("transductive"), labelled(model="plain+bias=0.1", miou=90.0),
    ]  # fmt: skip
    page = read(tmp_path, entries)
    found = table(page, "The main figure")
    assert found.rows() == [
        ["data set", "model", "Zero-shottop-1", "Transductivetop-1", "k-NNtop-1", "SegmentationmIoU"],
        ["meadows", "plain", "62.63", "62.63", "–", "41.00"],
        ["meadows", "finer", "–", "–", "–", "43.50"],
        ["lakes", "plain", "–", "–", "62.63", "–"],
    ]
    assert [bold.text for bold in found.all("b")] == ["43.50"]
    assert [title.text for title in page.all("h2")] == [
        "Overview", "Zero-shot", "Transductive", "k-NN", "Segmentation",
    ]  # fmt: skip
    assert "6 results, 2 data sets, 3 models" in page.all("header")[0].text


def test_one_task_needs_no_overview(tmp_path: Path) -> None:
    page = read(tmp_path, [scenes()])
    assert [title.text for title in page.all("h2")] == ["Zero-shot"] and not page.all("nav")


def test_plots_that_were_drawn_are_shown(tmp_path: Path) -> None:
    with_plot, without = scenes(dataset="my meadows, north"), scenes(model="other")
    assert not read(tmp_path, [with_plot]).all("img")
    written = write_plots(tmp_path, with_plot)
    page = read(tmp_path, [with_plot, without])
    (image,) = page.all("img")
    assert tmp_path / str(image.attributes["src"]) == written[0]
    with Image.open(written[0]) as drawn:
        assert (image.attributes["width"], image.attributes["height"]) == tuple(map(str, drawn.size))


def test_settings_and_warnings(tmp_path: Path) -> None:
    entry = scenes()
    entry = replace(entry, figures={**entry.figures, "k": 20, "warning": "optimistic", "settings": {"decay": 1e-5}})
    page = read(tmp_path, [entry])
    assert page.all("p", "warning")[0].text == "plain: optimistic"
    facts = {pair.inside[0].text: pair.inside[1].text for pair in page.all("dl")[0].all("div")}  # type: ignore[union-attr]
    assert facts == {"templates": "aerial", "scale": "0.1235", "k": "20", "chosen decay": "1e-05", "seconds": "1.5"}


def test_few_shot_and_referring(tmp_path: Path) -> None:
    shots = [{"shots": n, "mean": 60.0 + n, "std": 0.5 * n, "short": n // 4, "accuracies": [1, 2, 3]} for n in (1, 16)]
    few = ResultEntry(
        task="few-shot", dataset="meadows", model="plain", settings={}, classes=("hay", "corn"), seconds=1.0,
        figures={"images": "9", "1-shot": 61.0, "16-shot": 76.0, "shots": shots},
    )  # fmt: skip
    pointed = {
        "images": "20", "samples": 117, "gIoU": 34.584, "cIoU": 63.5, "Pr@0.5": 37.6,
        "kinds": {"above": {"samples": 1100, "gIoU": 56.06}, "absent": {"samples": 12, "gIoU": 75.0}},
        "categories": {"car": 0.0, "field": 55.57}, "no_target_accuracy": None,
    }  # fmt: skip
    refer = replace(few, task="referring", model="pointer", classes=(), figures=pointed)
    paint(tmp_path, "meadows.pointer.referring.examples.png")
    page = read(tmp_path, [refer, few])
    assert table(page, "Mean and standard deviation").rows()[1:] == [
        ["1", "61.00", "± 0.50", "0"],
        ["16", "76.00", "± 8.00", "4"],
    ]
    assert table(page, "The main figure").rows()[1:] == [
        ["meadows", "plain", "76.00", "–"],
        ["meadows", "pointer", "–", "34.58"],
    ]
    assert table(page, "Kinds of expressions, pointer").rows()[1:] == [
        ["above", "56.1", "1,100"],
        ["absent", "75.0", "12"],
    ]
    assert table(page, "Mean IoU of what is meant").rows()[1:] == [["car", "0.0"], ["field", "55.6"]]
    assert [image.attributes["src"] for image in page.all("img")] == ["meadows.pointer.referring.examples.png"]


def test_sets_by_presets(tmp_path: Path) -> None:
    """Sets in the order of the papers' tables, both thresholds, published figures."""
    cited = [
        published(36.9),
        published(31.5, verified=False, method="clip"),
        published(29.0, metric="aAcc", method="sam"),
    ]
    entries = [
        labelled("meadows"),
        labelled("vdd", miou=50.0, published=[published(45.3, verified=False)]),
        labelled("whu-aerial", "plain", miou=20.0, metric="IoU", images=7),
        labelled("loveda", miou=33.0, published=cited),
        labelled("loveda", "finer", miou=34.0, published=cited),
    ]
    page = read(tmp_path, entries)
    found = table(page, "Percent; tuned")
    rows = found.rows()
    assert rows[0] == ["data set", "figure", "images", "plain", "finer", "published"]
    assert rows[1] == ["tuned", "fixed", "tuned", "fixed", "segearth-ov", "clip", "sam"]
    sets = [row for row in rows[2:] if len(row) > 1]
    assert [row[0] for row in sets] == ["LoveDA", "VDD", "mean of 2", "WHU-Aerial", "meadows"]
    assert sets[0] == [
        "LoveDA", "mIoU", "1,234", "33.0at 0.35", "29.8at 0.1", "34.0at 0.35", "30.8at 0.1", "36.9[1]", "31.5?[2]",
        "29.0[1] aAcc",
    ]  # fmt: skip
    assert sets[2] == ["mean of 2", "mIoU", "", "41.5", "38.2", "–", "–", "41.1?", "–", "–"]
    assert sets[3] == ["WHU-Aerial", "IoU", "7", "27.0at 0.35", "21.0at 0.1", "–", "–", "–", "–", "–"]
    assert [row[0] for row in rows[2:] if len(row) == 1] == ["multi-class", "building", "other sets"]
    assert [bold.text for bold in found.all("b")] == ["34.0", "30.8"]
    assert page.all("abbr")[0].attributes["title"] == "unverified: A talk"
    note = page.all("p", "note")[0].text
    assert "[1] A paper; [2] A talk" in note and "unverified" in note
    assert [title.text for title in page.all("h3")] == ["LoveDA", "VDD", "WHU-Aerial", "meadows"]


def test_classes_and_figures_of_a_set(tmp_path: Path) -> None:
    other = labelled(model="finer")
    other.figures["tuned"] = {**other.figures["tuned"], "IoU": [70.0, None, 3.0], "boundary_IoU": 18.0}
    page = read(tmp_path, [labelled(), other])
    assert table(page, "IoU of each class").rows() == [
        ["class", "plain", "finer"],
        ["hay", "62.5", "70.0"],
        ["corn", "20.8", "–"],
        ["pond", "–", "3.0"],
    ]
    rows = table(page, "Whole set").rows()
    assert rows[0] == ["model", "threshold", "mIoU", "foreground IoU", "aAcc", "mAcc", "mF1", "boundary IoU"]
    assert rows[1] == ["plain", "tuned", "0.35", "41.0", "48.0", "66.2", "55.5", "44.1", "–"]
    assert rows[3][-1] == "18.0" and rows[2][:4] == ["plain", "fixed", "0.1", "37.8"]
    details = [each for each in page.all("details") if each.all("summary")[0].text.startswith("Precision")]
    assert details[0].all("table")[0].rows()[1:] == [
        ["hay", "95.2", "60.0", "73.6", "51.2"],
        ["corn", "19.4", "60.0", "29.3", "11.1"],
        ["pond", "–", "–", "–", "–"],
    ]


def test_confusion_is_in_shares_of_the_truth(tmp_path: Path) -> None:
    found = table(read(tmp_path, [labelled()]), "plain: percent of the true pixels")
    counts = np.array(COUNTS)
    totals = np.array([1000, 100, 1])[:, None]
    shares = counts / totals
    assert found.rows()[0] == ["truth \\ answer", "hay", "corn", "pond", "no class", "pixels"]
    assert found.rows()[1] == ["hay", *(f"{100 * share:.0f}" for share in shares[0]), "1 k"]
    assert found.rows()[2] == ["corn", "30", "60", "0", "10", "100"]
    cells = found.all("td", "heat")
    assert [float(str(cell.attributes["style"]).split(":")[1]) for cell in cells] == pytest.approx(
        shares.ravel(), abs=5e-4
    )
    assert cells[1].attributes["title"] == "250 pixels of hay: corn"
    assert cells[3].attributes["title"] == "100 pixels of hay: no class"


def test_a_large_confusion_is_its_mistakes(tmp_path: Path) -> None:
    size = 40
    counts = np.zeros((size, size + 1), dtype=int)
    np.fill_diagonal(counts, 90)
    counts[3, 7], counts[5, size], counts[8, 2] = 30, 10, 270
    names = tuple(f"class {i}" for i in range(size))
    entry = labelled(classes=names, confusion=counts.tolist())
    rows = table(read(tmp_path, [entry]), "plain: the largest mistakes").rows()
    assert rows[1:] == [
        ["class 8", "class 2", "75.0", "270"],
        ["class 3", "class 7", "25.0", "30"],
        ["class 5", "no class", "10.0", "10"],
    ]


def test_scores_of_images(tmp_path: Path) -> None:
    (chart,) = read(tmp_path, [labelled()]).all("figure", "histogram")
    counts = [int(title.text.split(": ")[1].split()[0]) for title in chart.all("title")]
    scores = [float(score) for _, score in SCORES if score is not None]  # type: ignore[arg-type]
    assert counts == np.histogram(scores, bins=20, range=(0, 100))[0].tolist()
    heights = [float(str(bar.attributes["height"])) for bar in chart.all("rect")]
    assert heights == pytest.approx(42.0 * np.array(counts)), "the highest bar has two images"
    assert "5 images, median 63.0 (dashed), mean 48.0; 1 more without a score" in chart.text


def test_pictures_of_all_models_beside_each_other(tmp_path: Path) -> None:
    def example(kind: str, name: str, score: float, model: str) -> dict[str, Any]:
        parts = {
            what: paint(tmp_path, f"pictures/{name} {model} {what}.png") for what in ("image", "truth", "prediction")
        }
        return {"kind": kind, "name": name, "score": score, **parts}

    first = [example("worst", "one", 1.5, "a"), example("best", "t#o", 88.25, "a")]
    second = [example("best", "one", 91.0, "b"), example("median", "three", 50.0, "b")]
    second[1]["truth"] = "pictures/gone.png"
    page = read(tmp_path, [labelled("dubai", "a", examples=first), labelled("dubai", "b", examples=second)])
    rows = [[figure.text.strip() for figure in row.all("figure")] for row in page.all("div", "pictures")]
    assert rows == [
        ["t#o", "truth", "a 88.2 (best)"],
        ["one", "truth", "a 1.5 (worst)", "b 91.0 (best)"],
        ["three", "b 50.0 (median)"],
    ]
    assert page.all("img")[0].attributes["src"] == "pictures/t%23o%20a%20image.png"
    assert not page.all("ul", "legend"), "three classes are not those of Dubai"


def test_the_legend_has_the_colours_of_the_set(tmp_path: Path) -> None:
    from earthwords.data.segmentation.sets.dubai import COLOURS, SPEC

    shown = {part: paint(tmp_path, f"{part}.png") for part in ("image", "truth", "prediction")}
    entry = labelled("dubai", classes=SPEC.titles, examples=[{"kind": "best", "name": "x", "score": None, **shown}])
    (legend,) = read(tmp_path, [replace(entry, figures={**entry.figures, "confusion": None})]).all("ul", "legend")
    assert [item.text for item in legend.all("li")] == list(SPEC.titles)
    drawn = [str(mark.attributes["style"]) for mark in legend.all("i", "swatch")]
    assert drawn == [f"background:#{red:02x}{green:02x}{blue:02x}" for red, green, blue in COLOURS]


def test_nothing_outside_the_folder_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    outside = paint(tmp_path, "outside.png")
    (folder / "no.png").write_text("not a picture")
    example = {"kind": "best", "name": "x", "score": 1.0, "image": f"../{outside}", "truth": str(tmp_path / outside)}
    others = [{**example, "name": "y", "image": "x" * 5000, "truth": "nul\0.png", "prediction": "."}]
    page = read(folder, [labelled(examples=[{**example, "prediction": "no.png"}, *others])])
    assert not page.all("img")


def test_other_weights_are_no_variant(tmp_path: Path) -> None:
    page = read(tmp_path, [labelled("meadows", "tiny", miou=40.0), labelled("meadows", "tiny+model=other", miou=50.0)])
    assert not [title for title in page.all("h3") if "compared" in title.text]
    assert "tiny+model=other" in page.all("table")[0].text


def test_variants_are_compared_with_the_first(tmp_path: Path) -> None:
    variants = [("vanilla", 20.0, 31.0), ("sclip", 26.5, 30.25), ("gem", 24.0, None)]
    entries = [labelled("meadows"), labelled("meadows", "tiny+bias=-0.3", miou=3.0)]
    for name, first, second in variants:
        entries.append(labelled("meadows", f"tiny+attention={name}", miou=first))
        if second is not None:
            entries.append(labelled("loveda", f"tiny+attention={name}", miou=second))
    page = read(tmp_path, entries)
    (found,) = [each for each in page.all("article") if each.all("h3")[0].text == "tiny: attention compared"]
    assert found.all("table")[0].rows() == [
        ["attention", "LoveDA", "meadows"],
        ["mIoU", "Δ", "mIoU", "Δ"],
        ["vanilla", "31.00", "", "20.00", ""],
        ["sclip", "30.25", "−0.75", "26.50", "+6.50"],
        ["gem", "–", "–", "24.00", "+4.00"],
    ]
    assert [bold.text for bold in found.all("table")[0].all("b")] == ["31.00", "26.50"]
    assert table(page, "Percent; tuned").rows()[0] == ["data set", "figure", "images", "plain"], "no variants"
    assert page.all("article")[1].all("h3")[0].text == "tiny: bias compared"


@pytest.mark.parametrize(
    "figures",
    [{"tuned": {}}, {"tuned": {"mIoU": None}, "fixed": None, "image_scores": [["a", None]], "confusion": None}],
)
def test_figures_that_are_absent(tmp_path: Path, figures: dict[str, Any]) -> None:
    page = read(tmp_path, [replace(labelled(), figures=figures)])
    assert table(page, "Percent; tuned").rows()[2] == ["meadows", "mIoU", "", "–", "–"]
    assert not page.all("svg") and not page.all("td", "heat")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """`read` refuses unknown elements, handlers and addresses; here every name comes back letter by letter."""
    example = {"kind": EVIL, "name": EVIL, "score": 1.0, "image": "../" + EVIL, "truth": EVIL, "prediction": EVIL}
    cited = {"method": EVIL, "value": 1.0, "metric": EVIL, "source": EVIL, "verified": False}
    settings = {EVIL: EVIL, "nested": {EVIL: [EVIL]}}
    seg = labelled(
        EVIL, EVIL, classes=(EVIL, "corn", "pond"), published=[cited], examples=[example], metric=EVIL, images=EVIL
    )
    whole = replace(scenes(dataset=EVIL, model=EVIL), classes=(EVIL, "corn"), settings=settings)
    whole.figures["warning"] = whole.figures["images"] = EVIL
    variant = labelled(EVIL, f"{EVIL}+attention={EVIL}", classes=(EVIL, "corn", "pond"))
    kinds = {"kinds": {EVIL: {"samples": 1, "gIoU": 1.0}}, "categories": {EVIL: 1.0}, "gIoU": 2.0, "images": EVIL}
    refer = replace(scenes("referring"), model=EVIL, figures=kinds)
    page = read(tmp_path, [seg, replace(seg, dataset=EVIL + "2"), variant, replace(whole, settings=settings), refer])
    assert table(page, "Accuracy of each class").rows()[:2] == [["class", EVIL], [EVIL, "75.0"]]
    assert EVIL in {title.text for title in page.all("h3")}
    assert {name: page.all("dl")[0].all(name)[0].text for name in ("dt", "dd")} == {"dt": EVIL, "dd": EVIL}
    assert page.all("abbr")[0].attributes["title"] == f"unverified: {EVIL}"
    assert page.all("td", "heat")[0].attributes["title"] == f"600 pixels of {EVIL}: {EVIL}"
    assert f"{EVIL}: attention compared" in {title.text for title in page.all("h3")}
    assert page.all("style")[0].text.count("<") == 0


@pytest.mark.parametrize(
    "name", ["{{ 7 * 7 }}{% raw %}{# gone #}", "two\n  lines", " blanks ", "'\"`", "&lt;b&gt;", "<script>'\"</script>"]
)
def test_names_are_no_templates_and_keep_their_blanks(tmp_path: Path, name: str) -> None:
    class_, other = f"{name}1", f"{name}2"
    shown = {part: paint(tmp_path, f"{part}.png") for part in ("image", "truth", "prediction")}
    example = {"kind": name, "name": name, "score": 1.0, **shown}
    cited = [published(1, method=name)]
    seg = labelled(name, name, classes=(class_, other, "pond"), examples=[example], published=cited)
    page = read(tmp_path, [seg, replace(scenes(model=name), classes=(class_, other), settings={name: name})])
    assert [row[0] for row in table(page, "Accuracy of each class").rows()] == ["class", class_, other]
    assert table(page, "Accuracy of each class").rows()[0][1] == name
    assert table(page, "Percent; tuned").rows()[1] == ["tuned", "fixed", name]
    assert page.all("img")[0].attributes["alt"] == f"{name}, image"
    assert page.all("td", "heat")[1].attributes["title"] == f"250 pixels of {class_}: {other}"
    assert {part: page.all("dl")[0].all(part)[0].text for part in ("dt", "dd")} == {"dt": name, "dd": name}
    assert page.all("svg")[0].attributes["aria-label"] == f"Scores of 5 images, {name}"


def test_a_value_that_a_template_misses_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("page.html.jinja", style="", version="9.8")


def test_only_our_style_is_put_in_as_it_is() -> None:
    """Everything else is escaped, by the environment."""
    assert environment().autoescape is True
    sources = [path.read_text(encoding="utf-8") for path in Path(page_module.__file__).parent.rglob("*.jinja")]
    assert len(sources) == len(environment().list_templates()) == 3
    assert re.findall(r"\w+\|\s*safe|Markup|autoescape", "".join(sources)) == ["style|safe"]


def test_results_come_with_the_page(tmp_path: Path) -> None:
    write_results(tmp_path, [scenes()], version="9.8")
    page = read(tmp_path, [scenes()])
    assert [link.attributes["href"] for link in page.all("footer")[0].all("a")] == ["results.json", "results.md"]
    first = (tmp_path / "report.html").read_bytes()
    write_results(tmp_path, [scenes()], version="9.8")
    assert (tmp_path / "report.html").read_bytes() == first
