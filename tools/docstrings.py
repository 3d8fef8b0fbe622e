"""Docstrings for the site: those of verbs as `help()` has them, with the options that verbs share, and `Example:` under
the name that griffe knows, `Examples:`."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any, get_args

import griffe

from earthwords.tasks import _options

VERBS = "earthwords.tasks."


class Docstrings(griffe.Extension):
    """Completes docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Replace the text of a docstring."""
        if obj.docstring is None:
            return
        text = obj.docstring.value
        if isinstance(obj, griffe.Function) and obj.path.startswith(VERBS) and obj.path.count(".") == 3:
            verb = getattr(importlib.import_module(obj.module.path), obj.name, None)
            text = inspect.getdoc(verb) or text
        obj.docstring.value = re.sub(r"^(\s*)Example:$", r"\1Examples:", text, flags=re.MULTILINE)
        for parameter in getattr(obj, "parameters", ()) if obj.path.startswith(VERBS) else ():
            parameter.annotation = _plain(parameter.annotation)


def _plain(annotation: Any) -> Any:
    """The type without what the command line adds to it: of `Annotated[X, ...]`, or of an alias of `_options`."""
    text = str(annotation or "")
    if match := re.match(r"Annotated\[(.*?), ", text):
        return match[1]
    if match := re.fullmatch(r"opt\.(\w+)", text):
        kind = get_args(getattr(_options, match[1]))[0]
        return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    return annotation
