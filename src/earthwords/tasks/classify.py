"""Zero-shot scene classification: what images and rasters show, each as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import UsageError, did_you_mean, number_of
from earthwords.evaluation.outcome import METHODS, ShotsReport
from earthwords.files.paths import IMAGES, is_local_path
from earthwords.inference.checks import check_mask, check_named, check_parts, check_raster
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from earthwords.archive.embed import ImagePreprocess
    from earthwords.archive.embed_job import EmbedJob
    from earthwords.data.classification.shots import ShotFolder
    from earthwords.evaluation.shots import Examples
    from earthwords.inference.execution import ExecutionOptions
    from earthwords.jobs.journal import Journal
    from earthwords.models.clip.model import ClipBackbone
    from earthwords.types import TextBank, Vocabulary

SUFFIXES = (".csv", ".json", ".parquet")
LP_PLUS = "lp++"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image's class."""

    source: str
    name: str
    score: float
    """Probability among the classes, 0..1."""
    second: str
    """The next best class, empty for a single class."""
    second_score: float

    def plain(self) -> dict[str, Any]:
        """Columns of the table."""
        return {"source": self.source, "class": self.name, "score": self.score, "second": self.second,
                "second_score": self.second_score}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Classes of images, in the order of the sources."""

    rows: tuple[Row, ...]
    model: str
    method: str
    """`zero-shot` or `transductive`."""
    failures: tuple[str, ...]
    """Why a source was left out."""
    notes: tuple[str, ...] = ()
    """What is known of the worth of the answers."""
    shots: ShotsReport | None = None
    """Of examples, where there were any."""

    @property
    def exit_code(self) -> int:
        """1 if a source was left out."""
        return int(bool(self.failures))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"model": self.model, "method": self.method, "images": [row.plain() for row in self.rows],
                "notes": list(self.notes), "failures": list(self.failures),
                **({} if self.shots is None else {"shots": self.shots.as_json()})}  # fmt: skip

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        rows = [[r.source, r.name, f"{r.score:.2f}", r.second, f"{r.second_score:.2f}"] for r in self.rows]
        left = f", {len(self.failures)} left out" if self.failures else ""
        title = f"{number_of(len(rows), 'image')}, {self.method}, {self.model}{left}"
        return title, ["source", "class", "score", "second", "score"], rows

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write .csv, .json or .parquet, by the suffix, whole or not at all."""
        from earthwords.files.atomic import atomic_path

        target = check_suffix(Path(path))
        with atomic_path(target, overwrite=overwrite) as staged:
            self._write(staged)
        return target

    def _write(self, path: Path) -> None:
        from earthwords.files.plaintext import csv_cell, write_json

        if path.suffix == ".json":
            write_json(path, self.as_json())
            return
        import pandas

        as_csv = path.suffix == ".csv"
        cell = csv_cell if as_csv else _utf8_cell
        rows = [{name: cell(value) for name, value in row.plain().items()} for row in self.rows]
        frame = pandas.DataFrame(rows, columns=list(_COLUMNS))
        frame.to_csv(path, index=False) if as_csv else frame.to_parquet(path, index=False)


_COLUMNS = ("source", "class", "score", "second", "second_score")


@opt.documented
def classify(
    *src: Annotated[str, opt.ARGUMENTS],
    out: Annotated[Path | None, opt.option(opt.OUTPUTS, name=["--out", "-o"], metavar="FILE")] = None,
    text: opt.Text = (),
    classes: opt.Classes = None,
    templates: opt.Templates = None,
    transductive: Annotated[bool, opt.option(opt.WORDS, negative="")] = False,
    shots: Annotated[Path | None, opt.option(opt.WORDS, metavar="FOLDER")] = None,
    method: Annotated[str | None, opt.option(opt.WORDS, metavar="NAME")] = None,
    preset: opt.Preset = DEFAULT_PRESET,
    model: opt.Model = None,
    bands: opt.Bands = None,
    nodata: opt.Nodata = None,
    mask: opt.Mask = None,
    stretch: opt.Stretch = "auto",
    allow_remote_parts: opt.AllowRemoteParts = False,
    image_size: Annotated[int | None, opt.option(opt.READING, metavar="PIXELS")] = None,
    fit: Annotated[Literal["crop", "square"], opt.READING] = "crop",
    overwrite: opt.Overwrite = False,
    batch_size: Annotated[int, opt.option(opt.RUNNING, metavar="N")] = 64,
    device: opt.Device = "auto",
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    resume: opt.Resume = True,
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Classification:
    """Say which of some words an image or raster shows, each as a whole.

    Where a table is written, a run that was killed goes on where it stopped when the same command is given again.

    Args:
        src: Images or rasters of any size: paths, URLs, folders, quoted patterns, or @FILE with one a line; a last one
            that ends in .csv, .json or .parquet is the table to write.
        out: Table to write: .csv, .json or .parquet; printed only otherwise.
        transductive: Correct the words' opinion by all images together (RS-TransCLIP); best for many images of each
            class.
        shots: Examples: a folder with a sub-folder of images for each class. A class without -t is known by its
            examples alone; without any -t the sub-folders' names are the words. Words alone are kept where examples
            do not help.
        method: What learns from the examples: lp++ (default), tip, tip-f, taskres, linear, prototypes.
        image_size: Side of what the model sees, pixels; default: the model's own.
        fit: crop: the shorter side is resized, the middle square kept (CLIP); square: both sides are resized.
        batch_size: Images encoded at once, on a CPU by one core.

    Returns:
        The best and the second class of every image, with their probabilities.

    Raises:
        UsageError: no image, no words, a class without examples, a wrong option, the table exists, an unfinished run
            had other options, or `strict` and a word was never learned.
        SourceError: no image can be read (of several, one that cannot is left out and told).
        WeightsError: the weights are missing or damaged.

    Example:
        >>> found = earthwords.classify("photos", text=["airport,airfield", "forest", "harbour"])
        >>> found.rows[0].name, found.rows[0].score
    """
    from earthwords.geo.destinations import checked
    from earthwords.geo.sources.find import all_sources, inputs_of
    from earthwords.inference.options import TINY_NOTICE, make_vocabulary, reach, split_bands

    src, out = _sources_and_table(src, out)
    check_numbers(src, batch_size, workers)
    console, row = Console(quiet=quiet), load_preset(preset)
    check_parts(row if templates is None else replace(row, templates=templates), model=model)
    if out is not None:
        checked({"table": check_suffix(out)}, out, overwrite=overwrite)
    if len(src) == 1:
        check_raster(str(src[0]))
    check_mask(mask)
    examples = _read_shots(shots, method, text, classes, transductive=transductive)
    vocabulary = make_vocabulary(text, classes, None) if examples is None else examples.vocabulary
    network = reach(offline, allow_remote_parts)
    sources = all_sources(map(str, src), say=console.say)
    if not sources:
        raise UsageError("Nothing of what was named is an image to classify.")
    if out is not None:
        read = {"classes": classes, "preset": preset, "model": model, "templates": templates, "mask": mask}
        shown = () if examples is None else map(str, examples.paths)
        inputs_of((), row=row, listed=[*sources, *shown], lists=src, **read).check([out])

    from earthwords.archive.embed import files_id, picture_notes, preprocess_for
    from earthwords.inference.cautions import enforce, image_notes
    from earthwords.inference.execution import ExecutionOptions
    from earthwords.inference.windows.text_bank import build_text_bank
    from earthwords.models.device import choose_device
    from earthwords.models.weights.table import load_clip
    from earthwords.text.templates import load_templates

    prompts, weights, place = load_templates(templates or row.templates), model or row.weights, choose_device(device)
    if row.name == DEFAULT_PRESET and model is None:
        console.say(TINY_NOTICE)
    with console.download(f"loading {weights}") as report:
        backbone = load_clip(weights, offline=offline, device=place, report=report).eval()
    reading: dict[str, Any] = {"nodata": nodata, "stretch": stretch, "mask": mask, "network": network}
    preprocess = preprocess_for(backbone, side=image_size, fit=fit, bands=split_bands(bands), **reading)
    name = Path(backbone.weights_id).name
    seen = picture_notes(sources, preprocess, model=name, gsd=row.gsd if model is None else None)
    notes = (*image_notes(vocabulary, lexicon=backbone.lexicon, model=name), *seen)
    console.notes(notes)
    enforce(notes, strict=strict)
    settings = {
        "src": " ".join(map(str, src)), "words": ", ".join(vocabulary.queries), "templates": " | ".join(prompts),
        "transductive": str(transductive), "preset": row.name, "model": weights, **preprocess.settings(),
        **({} if examples is None else {"shots": f"{shots} {files_id(examples.paths)}", "method": method or LP_PLUS}),
    }  # fmt: skip
    request = _Request(
        backbone=backbone, weights=weights, device=str(place), bank=build_text_bank(backbone, vocabulary, prompts),
        vocabulary=vocabulary, preprocess=preprocess, batch=batch_size, transductive=transductive, notes=notes,
        shots=examples, method=method or LP_PLUS,
        execution=ExecutionOptions(workers=workers, cluster=cluster, resume=resume, offline=offline),
    )  # fmt: skip
    if out is None:
        return request.run(sources, None, console)
    return request.write(sources, out, console, settings=settings, overwrite=overwrite)


def _read_shots(
    shots: Path | None, method: str | None, text: Sequence[str], classes: Path | None, *, transductive: bool
) -> ShotFolder | None:
    """The examples, if there are any."""
    if shots is None:
        if method is not None:
            raise UsageError("--method says what learns from examples: name their folder by --shots.")
        return None
    if method is not None and method not in METHODS:
        raise UsageError(f"There is no method {method!r} to learn from examples. {did_you_mean(method, METHODS)}")
    from earthwords.data.classification.shots import read_shots
    from earthwords.inference.options import make_vocabulary

    named = bool(text) or classes is not None
    examples = read_shots(Path(shots), make_vocabulary(text, classes, None) if named else None)
    if transductive and method is not None and examples.worded == len(examples.titles):
        raise UsageError("--transductive learns from examples itself: leave --method away, or --transductive.")
    return examples


def _sources_and_table(src: tuple[str, ...], out: Path | None) -> tuple[tuple[str, ...], Path | None]:
    """What is read, and the table: the last one, unless it is named."""
    for each in src:
        check_named(each, what="A raster", instead="Embedder.from_preset().image(array)")
    if out is None and len(src) > 1 and Path(src[-1]).suffix in SUFFIXES:
        return src[:-1], Path(src[-1])
    if out is None and len(src) > 1 and _is_no_image(str(src[-1])):
        check_suffix(Path(src[-1]))
    return src, None if out is None else Path(out)


def check_numbers(src: Sequence[str], batch_size: int, workers: int = 1) -> None:
    """Raises `UsageError` where nothing would be done."""
    if not src:
        raise UsageError("Name at least one image to classify.")
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, got {batch_size}.")
    if workers < 1:
        raise UsageError(f"--workers must be at least 1, got {workers}.")


def _utf8_cell(value: Any) -> Any:
    """A cell of a Parquet table, which takes no other text."""
    from earthwords.files.plaintext import utf8

    return utf8(value) if isinstance(value, str) else value


def _is_no_image(name: str) -> bool:
    """Whether the last path is meant to be written to: a file that is not there, of no kind of image."""
    path = Path(name)
    return is_local_path(name) and bool(path.suffix) and path.suffix.lower() not in IMAGES and not path.exists()


def check_suffix(path: Path) -> Path:
    """Raises `UsageError` for a table of an unknown kind."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"Unknown kind of table {path.name!r}. {did_you_mean(path.suffix, SUFFIXES)}")
    return path


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What is asked of images."""

    backbone: ClipBackbone
    weights: str
    """As for `load_clip`."""
    device: str
    bank: TextBank
    vocabulary: Vocabulary
    preprocess: ImagePreprocess
    batch: int
    transductive: bool
    notes: tuple[str, ...]
    execution: ExecutionOptions
    shots: ShotFolder | None
    method: str
    """What learns from the examples."""

    def write(
        self, sources: Sequence[str], out: Path, console: Console, *, settings: dict[str, str], overwrite: bool
    ) -> Classification:
        """Classes of images, in a table too, with a journal until it is there."""
        from earthwords import __version__
        from earthwords.files.atomic import writing
        from earthwords.files.output_sets import staging_all
        from earthwords.jobs.journal import journal_beside, open_journal
        from earthwords.models.weights.fingerprint import TOWERS, tower_hash

        towers = ", ".join(tower_hash(self.backbone, tower) for tower in TOWERS)
        where = {"batch-size": str(self.batch), "device": self.backbone.device.type, "version": __version__}
        settings, resume = {**settings, "weights": towers, **where}, self.execution.resume
        with (
            open_journal(journal_beside(out), settings=settings, resume=resume, of=out, unit="batches") as journal,
            staging_all({"table": out}, settings=settings, overwrite=overwrite, moved=journal.discard) as places,
        ):
            found = self.run(sources, journal, console)
            with writing(out):
                found._write(places["table"])
        console.say(f"table: {out}")
        return found

    def run(self, sources: Sequence[str], journal: Journal | None, console: Console) -> Classification:
        """Classes of images.

        Raises:
            SourceError: no image can be read.
            UsageError: too few can be for transduction.
        """
        from earthwords.archive import embed_job

        encode = embed_job.EncodeImages(
            model=self.weights, preprocess=self.preprocess, device=self.device, offline=self.execution.offline
        )
        with (
            self.execution.executor(self.device, preload=[embed_job.__name__]) as executor,
            console.bar("encoding", len(sources), unit="images") as tick,
        ):
            job = embed_job.EmbedJob(
                backbone=self.backbone, encode=encode, batch=self.batch, executor=executor, journal=journal
            )
            known, damaged = self._examples(embed_job.EmbedJob(backbone=self.backbone, encode=encode, batch=self.batch))
            vectors, kept, failures = job.run(sources, tick=tick, say=console.say)
        try:
            scores, report = self._scores(vectors, known)
        except UsageError:
            if journal is not None:
                journal.discard()  # another run would come to the same end
            raise
        told = () if report is None or known is None else (*report.lines(), *known.leaks(vectors, kept))
        console.notes(told)
        titles = self.vocabulary.titles if self.shots is None else self.shots.titles
        return Classification(
            rows=_rows(kept, scores, titles), model=self.weights, method=self._method(report),
            failures=(*damaged, *failures), notes=(*self.notes, *told), shots=report,
        )  # fmt: skip

    def _examples(self, job: EmbedJob) -> tuple[Examples | None, tuple[str, ...]]:
        """Examples as vectors, if there are any, and why some were left out."""
        if self.shots is None:
            return None, ()
        from earthwords.evaluation.shots import embed_examples

        cosines = partial(self._cosines, classes=len(self.shots.titles))
        return embed_examples(self.shots, job, self.bank, cosines=cosines, method=self.method)

    def _method(self, report: ShotsReport | None) -> str:
        """What the answers come from."""
        words = "transductive" if self.transductive else "zero-shot"
        if report is None:
            return words
        count = number_of(sum(report.examples.values()), "example")
        if not report.helps:
            return f"{words}, {count} not used"
        return f"transductive, {count}" if self.transductive else f"{self.method}, {count}"

    def _scores(
        self, vectors: NDArray[np.float32], known: Examples | None
    ) -> tuple[NDArray[np.float64], ShotsReport | None]:
        """`(image, class)` probabilities, and what was found out about examples."""
        from earthwords.evaluation.metrics.transductive import transduce, word_probabilities

        if known is None:
            words = word_probabilities(self._cosines(vectors, len(self.vocabulary)), self.backbone.logit_scale)
            return transduce(vectors, words).assignment if self.transductive else words, None
        from earthwords.evaluation.shots import classify_with_shots, transduce_with_shots

        return (transduce_with_shots if self.transductive else classify_with_shots)(vectors, known)

    def _cosines(self, vectors: NDArray[np.float32], classes: int) -> NDArray[np.float64]:
        return _by_class(vectors @ self.bank.vectors.T, self.bank.query_class, classes)


def _by_class(cosines: NDArray[np.floating], query_class: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """`(image, class)`: of each class the synonym that fits best."""
    import numpy as np

    out = np.full((len(cosines), classes), -np.inf)
    for query, label in enumerate(query_class):
        out[:, label] = np.maximum(out[:, label], cosines[:, query])
    return out


def _rows(sources: Sequence[str], scores: NDArray[np.float64], titles: Sequence[str]) -> tuple[Row, ...]:
    import numpy as np

    order = np.argsort(-scores, axis=1, kind="stable")
    rows = []
    for source, best, values in zip(sources, order, scores, strict=True):
        second = int(best[1]) if len(best) > 1 else None
        rows.append(
            Row(
                source=source,
                name=titles[int(best[0])],
                score=round(float(values[best[0]]), 6),
                second="" if second is None else titles[second],
                second_score=0.0 if second is None else round(float(values[second]), 6),
            )
        )
    return tuple(rows)
