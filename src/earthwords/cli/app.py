"""The commands, and what happens around each: errors become one sentence, results a table or JSON."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

from cyclopts import App, CycloptsError

from earthwords import __version__
from earthwords.errors import EarthwordsError
from earthwords.tasks.models import models as list_models
from earthwords.tasks.models import pull

INTERRUPTED = 130

app = App(
    name="earthwords",
    help="Say what you are looking for, get it from satellite and aerial images, on the map.",
    version=__version__,
    help_epilogue="Every command also takes --json (result as JSON on stdout) and --debug (tracebacks).",
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)
app.command("earthwords.tasks.segment:segment", name="segment", help="Segment a georeferenced raster by words.")
app.command("earthwords.tasks.demo:demo", name="demo", help="The main job on a scene rendered here; no network.")
app.command("earthwords.tasks.doctor:doctor", name="doctor", help="Check the installation with a small self-test.")
models = App(name="models", help="List presets and weights; `models pull NAME` downloads.")
models.default(list_models)
models.command(pull)
app.command(models)
train = App(name="train", help="Train models.")
train.command("earthwords.tasks.train_clip:train_clip", name="clip", help="Train a CLIP on pictures and words.")
app.command(train)


def run(argv: list[str]) -> int:
    """Run one command line, print its result, return the exit code."""
    debug, as_json = _take(argv, "--debug"), _take(argv, "--json")
    try:
        result = app(argv)
    except CycloptsError as error:
        return _fail(f"{error}", 2)
    except EarthwordsError as error:
        if debug:
            traceback.print_exc()
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("Interrupted; nothing was written.", INTERRUPTED)
    except BrokenPipeError:
        return 1
    except MemoryError:
        return _fail("Out of memory; use a smaller --batch-size or --tile-size, fewer words or --bounds.", 1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return _fail(f"Unexpected failure ({what}); run again with --debug and report it.", 1)
    if result is not None:
        _print(result, as_json=as_json)
    return int(getattr(result, "exit_code", 0))


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
