"""`evaluate segmentation`: presets on sets, image by image, by one process or many; what is done is never lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from earthwords import __version__
from earthwords.archive.embed import MOST_LOOKED_AT
from earthwords.data.segmentation.loader import SegmentationSet
from earthwords.errors import Caution, EarthwordsError, UsageError, WeightsError
from earthwords.evaluation.benchmark.counts import CountingRule, at
from earthwords.evaluation.benchmark.examples import fitted, painted
from earthwords.evaluation.benchmark.image_job import BenchmarkJob, ImageReader
from earthwords.evaluation.benchmark.scores import ExampleImage, choose, figures_of, total
from earthwords.evaluation.benchmark.variants import REFERENCE, Variant, find_variants, setting_of
from earthwords.evaluation.report.write import write_plots, write_results
from earthwords.evaluation.results import TASK, ResultEntry, read_results
from earthwords.files.atomic import atomic_path, discard, locked, parents_made_for, remove_dead, writing
from earthwords.files.output_tags import save_png
from earthwords.files.plaintext import write_json
from earthwords.files.reading import parse_json, read_json
from earthwords.inference.cautions import Tally, enforce
from earthwords.inference.limits import check_numbers
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.jobs.executor import Executor, Local
from earthwords.jobs.journal import Journal, open_journal
from earthwords.jobs.make_executor import make_executor
from earthwords.jobs.progress import Console
from earthwords.models.device import choose_device
from earthwords.presets import SegmentPreset
from earthwords.text.known_words import word_cautions
from earthwords.types import Vocabulary

JOURNALS, PICTURES, TIMES = ".journals", "pictures", "times.json"


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """How sets are measured; the fields are options of `evaluate`."""

    threshold: float | None = None
    templates: str | None = None
    model: str | None = None
    image_size: int | None = None
    bands: tuple[int | str, ...] | None = None
    nodata: float | None = None
    stretch: str = "auto"
    compare: str | None = None
    backbones: tuple[str, ...] = ()
    most: int | None = None
    examples: int = 3
    batch: int | None = None
    device: str = "auto"
    workers: int = 1
    cluster: str | None = None
    resume: bool = True
    offline: bool = False
    strict: bool = False

    def check(self) -> None:
        """Refuse impossible numbers.

        Raises:
            UsageError: one of them.
        """
        check_numbers(threshold=self.threshold or 0.0, batch=self.batch)
        for name, value, least in (
            ("--most", self.most, 1), ("--image-size", self.image_size, 0), ("--examples", self.examples, 0),
            ("--workers", self.workers, 1),
        ):  # fmt: skip
            if value is not None and value < least:
                raise UsageError(f"{name} must be at least {least}, got {value}.")


def _own(rule: CountingRule, vocabulary: Vocabulary) -> str:
    pairs = zip(vocabulary.titles, rule.levels, strict=False)
    return ", ".join(f"{title} {level:g}" for title, level in pairs if level is not None)


@dataclass(kw_only=True)
class SegmentationBenchmark:
    """A run over presets and sets."""

    out: Path
    options: BenchmarkOptions
    console: Console
    kept: dict[tuple[str, str, str], ResultEntry]
    entries: list[ResultEntry] = field(default_factory=list)
    reused: int = 0
    left_out: list[str] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    """What is known of the worth of the figures, each sentence once."""
    _loaded: tuple[Any, Segmenter] | None = None

    @cached_property
    def device(self) -> str:
        """Where everything is computed."""
        return str(choose_device(self.options.device))

    def load(self, row: SegmentPreset, variant: Variant) -> Segmenter:
        """The segmenter of a variant; the last one is kept."""
        key = row, variant.model
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None
            with self.console.download(f"loading {variant.label}") as report:
                made = Segmenter.from_preset(
                    row, model=variant.model, device=self.device, batch=self.options.batch,
                    offline=self.options.offline or variant.offline, report=report,
                )  # fmt: skip
            self.console.notes(made.notes)
            self._loaded = key, made
        return self._loaded[1]

    def measure(self, variant: Variant, found: SegmentationSet, executor: Executor) -> None:
        """A variant on a set: found done, or counted, shown and written down."""
        segmenter = self.load(variant.on(found.spec), variant)
        part = evenly_drawn(found, self.options.most)
        vocabulary = found.vocabulary(variant.preset.name)
        words = word_cautions(vocabulary.queries, segmenter.encoder.backbone.lexicon, segmenter.model_name)
        notes = (*words, *self._scene_cautions(segmenter, part))
        self.notes |= dict.fromkeys(notes)
        self.console.notes(notes)
        enforce(notes, strict=self.options.strict)
        job = self._job(variant, segmenter, part, vocabulary)
        settings = self._settings(variant, segmenter, job, found, part, vocabulary)
        entry = ResultEntry(
            task=TASK, dataset=found.spec.name, model=variant.label, settings=settings, classes=found.spec.titles,
            figures={}, seconds=0.0,
        )  # fmt: skip
        folder = self.out / JOURNALS / entry.stem
        before = self.kept.get(entry.key) if self.options.resume else None
        if before is not None and before.settings == settings:
            self.entries.append(before)
            self.reused += 1
            _discard(folder)
            return
        resume, texts = self.options.resume, {name: str(value) for name, value in settings.items()}
        with open_journal(folder, settings=texts, resume=resume, of=self.out, unit="images") as journal:
            self._count(job, segmenter, journal, executor, entry)
            counts, scores = total(job.rule, ((name, parse_json(journal.read(name))) for name in journal))
            figures = figures_of(counts, found.spec, part.names, scores)
            chosen = choose([scores[name] for name in part.names], self.options.examples)
            figures["examples"] = self._examples(job, segmenter, vocabulary, chosen, entry.stem)
            entry = replace(entry, figures=json.loads(json.dumps(figures)))
            self.kept[entry.key] = entry
            self.entries.append(entry)
            write_plots(self.out, entry)
            self.write()
        _discard(folder)

    def _scene_cautions(self, segmenter: Segmenter, found: SegmentationSet) -> tuple[str, ...]:
        """Cautions about colours and resolution of images, of some of them where there are many."""
        options, tally = self.options, Tally()
        pairs = found.pairs[:: 1 + len(found) // MOST_LOOKED_AT]
        view = ImageReader(bands=options.bands, nodata=options.nodata, stretch=options.stretch, side=None)
        for pair in pairs:
            with suppress(EarthwordsError), view.open(segmenter, pair.image) as scene:  # what is wrong is told later
                notes = (*scene.notes, *segmenter.scene_notes(scene))
                tally.add(note for note in notes if isinstance(note, Caution))
        return tally.lines(len(pairs), what="images looked at")

    def write(self) -> None:
        """All results so far."""
        remove_dead(self.out / TIMES)
        write_results(self.out, list(self.kept.values()), version=__version__)

    def _job(
        self, variant: Variant, segmenter: Segmenter, found: SegmentationSet, vocabulary: Vocabulary
    ) -> BenchmarkJob:
        setting, options = setting_of(found.spec, variant.preset.name), self.options
        fixed = segmenter.preset.threshold if options.threshold is None else options.threshold
        tuned = segmenter.preset.threshold if setting is None else setting.threshold
        own = dict(segmenter.preset.thresholds) if options.threshold is None else {}
        side = options.image_size or None
        if options.image_size is None and setting is not None and segmenter.preset.gsd is None:
            side = setting.side
        return BenchmarkJob(
            preset=segmenter.preset, bank=segmenter.text_bank(vocabulary),
            rule=CountingRule(
                classes=len(found.spec.classes), background=found.spec.background, tuned=float(tuned),
                fixed=float(fixed), levels=tuple(map(own.get, vocabulary.titles)) if own else (),
            ),
            view=ImageReader(bands=options.bands, nodata=options.nodata, stretch=options.stretch, side=side),
            encoding=found.layout.encoding,
            pairs=found.pairs, batch=options.batch, device=self.device, offline=options.offline or variant.offline,
        )  # fmt: skip

    def _settings(
        self,
        variant: Variant,
        segmenter: Segmenter,
        job: BenchmarkJob,
        found: SegmentationSet,
        part: SegmentationSet,
        vocabulary: Vocabulary,
    ) -> dict[str, Any]:
        """Everything that the figures depend on."""
        tags = segmenter.tags(vocabulary)
        spec, name = found.spec, variant.preset.name
        whose = name if name in spec.settings else REFERENCE if REFERENCE in spec.settings else ""
        side = job.view.side
        settings = {
            **variant.about,
            **{key.removeprefix("EARTHWORDS_").lower(): tags[key] for key in tags if key != "EARTHWORDS_THRESHOLD"},
            "hash of the weights": f"{segmenter.weights_hash}, words {job.bank.digest}",
            "tuned threshold": f"{job.rule.tuned:g}, {f'tuned for {whose}' if whose else 'of the preset'}",
            "fixed threshold": f"{job.rule.fixed:g}",
            **({"thresholds of classes": own} if (own := _own(job.rule, vocabulary)) else {}),
            "background": "none" if spec.background is None else spec.titles[spec.background],
            "images seen": "as segment does" if side is None else f"{side} pixels at their longer side",
            "bands": "as in the file" if job.view.bands is None else ",".join(map(str, job.view.bands)),
            **({} if job.view.nodata is None else {"nodata": f"{job.view.nodata:g}"}),
            "stretch": job.view.stretch,
            "images": f"{spec.split}, {len(part):,}" + f" evenly drawn of {len(found):,}" * (len(part) < len(found)),
            "data": part.digest,
            "examples": self.options.examples,
            "device": segmenter.arithmetic,
            "earthwords": __version__,
        }
        settings.pop("version")
        return settings

    def _count(
        self, job: BenchmarkJob, segmenter: Segmenter, journal: Journal, executor: Executor, entry: ResultEntry
    ) -> None:
        """The images that are not in the journal."""
        wanted = {i for i, pair in enumerate(job.pairs) if pair.name not in journal}
        journal.total = len(job.pairs)
        began = time.perf_counter()
        with self.console.bar(f"{entry.model} on {entry.dataset}", len(job.pairs), unit="images") as bar:
            bar.skip(len(job.pairs) - len(wanted))
            for index, counted in self._images(job, segmenter, wanted, executor):
                journal.save(job.pairs[index].name, json.dumps(counted).encode())
                bar(1)
        if wanted:
            self._note_time(entry, len(wanted), time.perf_counter() - began)

    def _images(
        self, job: BenchmarkJob, segmenter: Segmenter, wanted: set[int], executor: Executor
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        if isinstance(executor, Local):
            for index in sorted(wanted):
                yield index, job.counted(segmenter, index)
            return
        yield from executor.compute(job, wanted, lambda done: None)

    def _note_time(self, entry: ResultEntry, images: int, seconds: float) -> None:
        """How long counting took, in a file of its own, so that results do not depend on it."""
        path = self.out / TIMES
        try:
            known = read_json(path)
        except (OSError, ValueError):
            known = {}
        known[entry.stem] = {"images": images, "seconds": round(seconds, 3), "workers": self.options.workers}
        with atomic_path(path, overwrite=True) as part:
            write_json(part, known)

    def _examples(
        self, job: BenchmarkJob, segmenter: Segmenter, vocabulary: Vocabulary, chosen: Sequence[ExampleImage], stem: str
    ) -> list[dict[str, Any]]:
        """Pictures of the images chosen, segmented once more; those of an earlier run go."""
        colours = [entry.colour for entry in vocabulary.classes]
        folder, rows = self.out / PICTURES, []
        with writing(folder):
            if chosen:
                folder.mkdir(exist_ok=True)
            for old in folder.glob(f"{stem}.*.png"):
                old.unlink()
        for place, example in enumerate(chosen):
            predicted = job.predicted(segmenter, example.number, image=True)
            labels = at(job.rule.tuned, predicted.best, predicted.probability, job.rule)
            pictures = {
                "image": fitted(predicted.image),
                "truth": painted(job.truth(example.number), colours),
                "prediction": painted(labels, colours),
            }
            row: dict[str, Any] = {"kind": example.kind, "name": job.pairs[example.number].name}
            row["score"] = example.score
            for name, picture in pictures.items():
                target = folder / f"{stem}.{place + 1:02d}-{example.kind}.{name}.png"
                with atomic_path(target, overwrite=True) as path:
                    save_png(picture, path, kind="example")
                row[name] = f"{PICTURES}/{target.name}"
            rows.append(row)
        return rows


def segmentation(
    sets: Sequence[SegmentationSet], out: Path, console: Console, *, presets: Sequence[str], options: BenchmarkOptions
) -> SegmentationBenchmark:
    """Every preset, or variant of it, on every set; of several, what does not load is left out.

    Raises:
        UsageError: unknown names, impossible numbers, or another process works in `out`.
        SourceError: an image or its labels are damaged.
    """
    options.check()
    variants = find_variants(
        presets, model=options.model, templates=options.templates, compare=options.compare, backbones=options.backbones
    )
    failures: list[UsageError | WeightsError] = []
    with _alone(out), ExitStack() as stack:
        bench = SegmentationBenchmark(
            out=out, options=options, console=console, kept={entry.key: entry for entry in read_results(out)}
        )
        executor = stack.enter_context(
            make_executor(
                options.workers,
                cluster=options.cluster,
                device=bench.device,
                preload=["earthwords.inference.segment.block"],
            )
        )
        for variant, found in ((variant, found) for variant in variants for found in sets):
            try:
                bench.measure(variant, found, executor)
            except (UsageError, WeightsError) as error:
                failures.append(error)
                if len(variants) * len(sets) > 1:
                    bench.left_out.append(f"{variant.label} on {found.spec.name}: {error}")
                    console.left_out(bench.left_out[-1])
        if not bench.entries:
            raise failures[0]
        if bench.reused:
            bench.write()  # a run may have died between its files
    return bench


def _discard(journal: Path) -> None:
    """Remove a journal, and the folder of journals with the last one."""
    discard(journal)
    with suppress(OSError):  # others are there
        journal.parent.rmdir()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """The folder, for this process alone; gone again where nothing came of it.

    Raises:
        UsageError: another process works there.
    """
    with parents_made_for(out / "results.json"):
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
        with locked(out) as free:
            if not free:
                raise UsageError(f"Another process is measuring into {out}; wait for it, or choose another --out.")
            yield


def evenly_drawn(found: SegmentationSet, most: int | None) -> SegmentationSet:
    """At most so many items of a set, from all of it."""
    if most is None or most >= len(found):
        return found
    places = [round(i * (len(found) - 1) / max(1, most - 1)) for i in range(most)]
    return replace(found, pairs=tuple(found.pairs[place] for place in places))
