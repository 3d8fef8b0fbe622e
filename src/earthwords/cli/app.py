"""The commands, and what happens around each: errors become one sentence, results a table or JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from earthwords import __version__
from earthwords.errors import EarthwordsError, brief, is_out_of_memory
from earthwords.tasks.models import models as list_models
from earthwords.tasks.models import pull

INTERRUPTED, TERMINATED = 130, 143

app = App(
    name="earthwords",
    help="Say what you are looking for, get it from satellite and aerial images, on the map.",
    version=__version__,
    help_epilogue="Every command also takes --json (result as JSON on stdout) and --debug (tracebacks).",
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative_iterable=()),
)
app.command("earthwords.tasks.segment:segment", name="segment", help="Segment a georeferenced raster by words.")
app.command("earthwords.tasks.refer:refer", name="refer", help="Point at a thing in a raster with a sentence.")
app.command("earthwords.tasks.upsample:upsample", name="upsample", help="Dense features of a raster, pixel by pixel.")
app.command(
    "earthwords.tasks.classify:classify", name="classify", help="Name what images and rasters show, each as a whole."
)
app.command(
    "earthwords.tasks.evaluate:evaluate", name="evaluate", help="Measure a model: scenes, sentences, segmentation."
)
data = App(name="data", help="Data sets for segmentation: list, prepare, check.")
data.command("earthwords.tasks.data:list_data", name="list", help="What sets there are, and what is known of them.")
data.command("earthwords.tasks.data:prepare_data", name="prepare", help="Make a downloaded set ready to be measured.")
data.command("earthwords.tasks.data:check_data", name="check", help="Check a set on disk: counts, sizes, labels.")
app.command(data)
app.command("earthwords.tasks.pairs:pairs", name="pairs", help="Boxes and masks to images with captions.")
app.command(
    "earthwords.tasks.expressions:expressions", name="expressions", help="Masks to sentences that mean certain things."
)
app.command("earthwords.tasks.index:index", name="index", help="Make an archive searchable by words.")
app.command("earthwords.tasks.search:search", name="search", help="Search an index by words, image, place and day.")
app.command("earthwords.tasks.demo:demo", name="demo", help="The main job on a scene rendered here; no network.")
app.command("earthwords.tasks.doctor:doctor", name="doctor", help="Check the installation with a small self-test.")
models = App(name="models", help="List presets and weights; `models pull NAME` downloads.")
models.default(list_models)
models.command(pull)
app.command(models)
train = App(name="train", help="Train models.")
train.command("earthwords.tasks.train_clip:train_clip", name="clip", help="Train a CLIP on pictures and words.")
train.command(
    "earthwords.tasks.train_upsampler:train_upsampler", name="upsampler", help="Train a feature upsampler on images."
)
train.command("earthwords.tasks.train_refer:train_refer", name="refer", help="Train RSRefSeg on described images.")
app.command(train)


def run(argv: list[str]) -> int:
    """Run one command line, print its result, return the exit code."""
    debug, as_json = _take(argv, "--debug"), _take(argv, "--json")
    if not debug and "CPL_DEBUG" not in os.environ:
        os.environ.setdefault("CPL_LOG", os.devnull)  # GDAL's remarks; its errors come to us as exceptions
    try:
        with _terminable():
            result = app(argv)
            if result is not None:
                _print(result, as_json=as_json)
            sys.stdout.flush()
        return int(getattr(result, "exit_code", 0))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt, Terminated) as error:
        if debug and not isinstance(error, CycloptsError):
            traceback.print_exc()
        return _fail(*explain(error))


def explain(error: BaseException) -> tuple[str, int]:
    """One sentence and the exit code."""
    if isinstance(error, CycloptsError):
        return _usage(error), 2
    if isinstance(error, EarthwordsError):
        return " ".join((str(error), *getattr(error, "__notes__", ()))), error.exit_code
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        words = " ".join(("Interrupted; unfinished outputs were removed.", *getattr(error, "__notes__", ())))
        return words, TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    what = " ".join(f"{type(error).__name__}: {error}".split())
    if is_out_of_memory(error):
        return "Out of memory; use a smaller --batch-size or --tile-size, fewer words or --bounds.", 1
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{brief(str(error.filename))}: {error.strerror.lower()}; correct or change that path.", 1
    return f"Unexpected failure ({what}); run again with --debug and report it.", 1


def _usage(error: CycloptsError) -> str:
    """cyclopts' own sentence, and where to look further."""
    chain = " ".join(("earthwords", *(error.command_chain or ())))
    return f"{' '.join(str(error).split())} See `{chain} --help`."


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does, so that unfinished outputs go."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _take(argv: list[str], flag: str) -> bool:
    """Remove a flag that every command has."""
    if flag in argv:
        argv.remove(flag)
        return True
    return False


def _print(result: Any, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.as_json(), indent=2, ensure_ascii=False))
    else:
        from earthwords.cli.show import show

        show(result)


def _fail(sentence: str, code: int) -> int:
    print(f"earthwords: {sentence}", file=sys.stderr)
    return code
