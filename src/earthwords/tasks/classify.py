"""Zero-shot scene classification: what images and rasters show, each as a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import UsageError, did_you_mean, number_of
from earthwords.evaluation.classification import SUFFIXES, Classification, best_synonym, check_suffix, rows_of
from earthwords.evaluation.outcome import METHODS, TRAINED, ShotsReport
from earthwords.files.paths import IMAGES, is_local_path
from earthwords.inference.checks import check_mask, check_named, check_parts, check_path, check_raster
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from earthwords.archive.embed import ImagePreprocess
    from earthwords.archive.embed_job import EmbedJob
    from earthwords.data.classification.shots import ShotFolder
    from earthwords.evaluation.shots import KnownImages
    from earthwords.inference.execution import ExecutionOptions
    from earthwords.jobs.journal import Journal
    from earthwords.models.clip.model import ClipBackbone
    from earthwords.presets import SegmentPreset
    from earthwords.types import TextBank, Vocabulary

LP_PLUS = "lp++"


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
    aoi: opt.Aoi = None,
    asset: opt.Asset = None,
    item: opt.Item = None,
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
        method: What learns from the examples: lp++ (default), tip, tip-f, taskres, linear, prototypes, coop; or
            clip-lora, which trains the towers, for hours without a GPU.
        aoi: Polygons of any vector file and CRS: of a raster what lies inside is looked at, as a whole; those that no
            polygon touches are left out.
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
    from earthwords.geo.sources.find import all_sources
    from earthwords.inference.options import TINY_NOTICE, reach, sources_in, split_bands, taught_for_maps

    src = tuple(sources_in(src, asset, item, offline, allow_remote_parts))
    src, out = _sources_and_table(src, out)
    check_numbers(src, batch_size, workers)
    console, row = Console(quiet=quiet), load_preset(preset)
    console.notes(taught_for_maps(row))
    check_parts(row if templates is None else replace(row, templates=templates), model=model)
    _check_files(src, out, mask, aoi, overwrite=overwrite)
    network = reach(offline, allow_remote_parts)
    named = str(model or row.weights)
    vocabulary, examples = _words(text, classes, shots, method, transductive=transductive, weights=named)
    sources = all_sources(map(os.fspath, src), say=console.say)
    if not sources:
        raise UsageError("Nothing of what was named is an image to classify.")
    if out is not None:
        read = {"classes": classes, "preset": preset, "model": model, "templates": templates, "mask": mask, "aoi": aoi}
        _check_apart(out, [*sources, *(() if examples is None else map(str, examples.paths))], src, row, read)
    from earthwords.archive.embed import preprocess_for
    from earthwords.geo.vectors.aoi import aoi_of
    from earthwords.inference.cautions import enforce
    from earthwords.inference.execution import ExecutionOptions
    from earthwords.inference.windows.text_bank import build_text_bank
    from earthwords.models.device import choose_device
    from earthwords.models.weights.table import load_clip
    from earthwords.text.templates import load_templates

    prompts, weights, place = load_templates(templates or row.templates), named, choose_device(device)
    if row.name == DEFAULT_PRESET and model is None:
        console.say(TINY_NOTICE)
    with console.download(f"loading {weights}") as report:
        backbone = load_clip(weights, offline=offline, device=place, report=report).eval()
    reading: dict[str, Any] = {"nodata": nodata, "stretch": stretch, "mask": mask, "network": network}
    reading["aoi"] = None if aoi is None else aoi_of(aoi)
    preprocess = preprocess_for(backbone, side=image_size, fit=fit, bands=split_bands(bands), **reading)
    console.notes(notes := _notes(sources, vocabulary, backbone, preprocess, gsd=None if model else row.gsd))
    enforce(notes, strict=strict)
    settings = {
        "src": " ".join(map(str, src)), "words": ", ".join(vocabulary.queries), "templates": " | ".join(prompts),
        "transductive": str(transductive), "preset": row.name, "model": weights, **preprocess.settings(),
    }  # fmt: skip
    request = _Request(
        backbone=backbone, weights=weights, device=str(place), bank=build_text_bank(backbone, vocabulary, prompts),
        vocabulary=vocabulary, preprocess=preprocess, batch=batch_size, transductive=transductive, notes=notes,
        execution=ExecutionOptions(workers=workers, cluster=cluster, resume=resume, offline=offline), shots=examples,
        method=method or LP_PLUS, prompts=prompts,
    )  # fmt: skip
    return request.write(sources, out, console, settings=settings, overwrite=overwrite)


def _check_files(src: Sequence[str], out: Path | None, mask: Any, aoi: Any, *, overwrite: bool) -> None:
    """Refuse files that are not there, and a table that cannot be written."""
    from earthwords.geo.destinations import checked
    from earthwords.inference.options import check_aoi

    if out is not None:
        checked({"table": check_suffix(out)}, out, overwrite=overwrite)
    if len(src) == 1:
        check_raster(str(src[0]))
    check_mask(mask)
    check_aoi(aoi)


def _check_apart(
    out: Path, images: Sequence[str], src: Sequence[str], row: SegmentPreset, read: Mapping[str, Any]
) -> None:
    """Refuse a table that would replace what is read."""
    from earthwords.geo.sources.find import inputs_of

    inputs_of((), row=row, listed=images, lists=src, **read).check([out])


def _words(
    text: Sequence[str],
    classes: Path | None,
    shots: Path | None,
    method: str | None,
    *,
    transductive: bool,
    weights: str,
) -> tuple[Vocabulary, ShotFolder | None]:
    """The words, and examples if there are any."""
    from earthwords.inference.options import make_vocabulary

    if method is not None and shots is None:
        raise UsageError("--method says what learns from examples: name their folder by --shots.")
    if method is not None and method not in METHODS:
        raise UsageError(f"There is no method {method!r} to learn from examples. {did_you_mean(method, METHODS)}")
    if shots is None:
        return make_vocabulary(text, classes, None, weights=weights), None
    from earthwords.data.classification.shots import read_shots

    named = bool(text) or classes is not None
    folder = Path(check_path(shots, what="The folder of --shots"))
    examples = read_shots(folder, make_vocabulary(text, classes, None, weights=weights) if named else None)
    if transductive and method is not None and examples.worded == len(examples.titles):
        raise UsageError("--transductive learns from examples itself: leave --method out, or --transductive.")
    if method in TRAINED and examples.worded < len(examples.titles):
        raise UsageError(f"{method} learns from words, and {examples.titles[-1]!r} has none: name every class by -t.")
    return examples.vocabulary, examples


def _notes(
    sources: Sequence[str], vocabulary: Vocabulary, backbone: ClipBackbone, preprocess: ImagePreprocess, *,
    gsd: tuple[float, float] | None,
) -> tuple[str, ...]:  # fmt: skip
    """What is known of the words and the images."""
    from earthwords.archive.embed import picture_notes
    from earthwords.inference.cautions import image_notes

    name = Path(backbone.weights_id).name
    seen = picture_notes(sources, preprocess, model=name, gsd=gsd)
    return (*image_notes(vocabulary, lexicon=backbone.lexicon, model=name), *seen)


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


def _is_no_image(name: str) -> bool:
    """Whether the last path is meant to be written to: a file that is not there, of no kind of image."""
    path = Path(name)
    return is_local_path(name) and bool(path.suffix) and path.suffix.lower() not in IMAGES and not path.exists()


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
    prompts: tuple[str, ...]

    def write(
        self, sources: Sequence[str], out: Path | None, console: Console, *, settings: dict[str, str], overwrite: bool
    ) -> Classification:
        """Classes of images, in a table too if there is one, with a journal until it is there."""
        if out is None:
            return self.run(sources, None, console)
        from earthwords import __version__
        from earthwords.files.atomic import writing
        from earthwords.files.output_sets import staging_all
        from earthwords.jobs.journal import journal_beside, open_journal
        from earthwords.models.weights.fingerprint import TOWERS, tower_hash

        towers = ", ".join(tower_hash(self.backbone, tower) for tower in TOWERS)
        where = {"batch-size": str(self.batch), "device": self.backbone.device.type, "version": __version__}
        settings, resume = {**settings, "weights": towers, **where, **self._about_shots()}, self.execution.resume
        with (
            open_journal(journal_beside(out), settings=settings, resume=resume, of=out, unit="batches") as journal,
            staging_all({"table": out}, settings=settings, overwrite=overwrite, moved=journal.discard) as places,
        ):
            found = self.run(sources, journal, console)
            with writing(out):
                found.write(places["table"])
        console.outputs({"table": out})
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
        shown = replace(encode, preprocess=replace(self.preprocess, aoi=None))
        with (
            self.execution.executor(self.device, preload=[embed_job.__name__]) as executor,
            console.bar("encoding", len(sources), unit="images") as tick,
        ):
            job = embed_job.EmbedJob(
                backbone=self.backbone, encode=encode, batch=self.batch, executor=executor, journal=journal
            )
            known, damaged = self._examples(embed_job.EmbedJob(backbone=self.backbone, encode=shown, batch=self.batch))
            vectors, kept, failures = job.run(sources, tick=tick, say=console.say)
        try:
            scores, report = self._scores(vectors, known, kept)
        except UsageError:
            if journal is not None:
                journal.discard()  # another run would come to the same end
            raise
        told = () if report is None or known is None else (*report.lines(), *known.leaks(vectors, kept))
        console.notes(told)
        titles = self.vocabulary.titles if self.shots is None else self.shots.titles
        return Classification(
            rows=rows_of(kept, scores, titles), model=self.weights, method=self._method(report),
            failures=(*damaged, *failures), notes=(*self.notes, *told), shots=report,
        )  # fmt: skip

    def _examples(self, job: EmbedJob) -> tuple[KnownImages | None, tuple[str, ...]]:
        """Examples as vectors, if there are any, and why some were left out."""
        if self.shots is None:
            return None, ()
        from earthwords.evaluation.shots import embed_examples

        cosines = partial(self._cosines, classes=len(self.shots.titles))
        return embed_examples(
            self.shots, job, self.bank, cosines=cosines, method=self.method, prompt=self.prompts[0]
        )  # fmt: skip

    def _about_shots(self) -> dict[str, str]:
        """What a run that goes on must have in common."""
        if self.shots is None:
            return {}
        from earthwords.archive.embed import files_id

        return {"shots": f"{self.shots.folder} {files_id(self.shots.paths)}", "method": self.method}

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
        self, vectors: NDArray[np.float32], known: KnownImages | None, sources: Sequence[str]
    ) -> tuple[NDArray[np.float64], ShotsReport | None]:
        """`(image, class)` probabilities, and what was found out about examples."""
        from earthwords.evaluation.metrics.transductive import transduce, word_probabilities

        if known is None:
            words = word_probabilities(self._cosines(vectors, len(self.vocabulary)), self.backbone.logit_scale)
            return transduce(vectors, words).assignment if self.transductive else words, None
        from earthwords.evaluation.shots import classify_with_shots, transduce_with_shots

        if self.transductive:
            return transduce_with_shots(vectors, known)
        return classify_with_shots(vectors, known, sources)

    def _cosines(self, vectors: NDArray[np.float32], classes: int) -> NDArray[np.float64]:
        return best_synonym(vectors @ self.bank.vectors.T, self.bank.query_class, classes)
