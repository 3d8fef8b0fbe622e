"""Templates to HTML: values are escaped where they are put in, so that no name of a class or a set is markup."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream


class JoinedLines(Extension):
    """A line break in a template and the blanks around it are no text, or cells and captions would be full of them."""

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        """The tokens of a template, those of its text on one line."""
        for token in stream:
            text = re.sub(r"\s*\n\s*", "", token.value) if token.type == "data" else token.value
            yield Token(token.lineno, token.type, text)


@cache
def environment() -> Environment:
    """The templates of this folder."""
    loader = PackageLoader("earthwords.evaluation.report")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, extensions=[JoinedLines])


def render(template: str, **values: Any) -> str:
    """What a template makes of values."""
    return environment().get_template(template).render(values)
