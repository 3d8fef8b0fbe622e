"""What the words of a comparison must have, looked at before anything heavy is loaded."""

from __future__ import annotations

from earthwords.errors import UsageError
from earthwords.types import Vocabulary


def check_can_change(words: Vocabulary) -> Vocabulary:
    """The same, if one of its classes can become another one.

    Raises:
        UsageError: it is a single class.
    """
    if len(words) < 2:
        raise UsageError(
            f"One class, {words.titles[0]}, has nothing to change into: add --against auto, or name more classes."
        )
    return words
