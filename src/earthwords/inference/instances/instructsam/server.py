"""Numbers of things from a vision-language model behind an OpenAI-compatible address."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from PIL import Image

from earthwords.errors import ServerError, UsageError, brief
from earthwords.inference.instances.instructsam.answers import UnreadableAnswer, counts_of_answer
from earthwords.types import Vocabulary

KEY = "EARTHWORDS_API_KEY"
"""Variable of the environment with the key, if the server wants one."""
PATH = "/chat/completions"
SECONDS = 120.0
"""Within which the whole answer must be there, however slowly it comes."""
_MOST_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class CountServer:
    """Who is asked how many there are."""

    url: str
    model: str

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # of brackets and ports
            known = False
        if not known or not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            raise UsageError(f"--counts-from is an address such as http://localhost:8000/v1, not {self.url!r}.")
        if parts.username or parts.password:
            raise UsageError(f"Put the key into the variable {KEY}, not into the address.")
        if not self.model.strip():
            raise UsageError("Name the model that counts: --counts-model NAME.")

    @property
    def address(self) -> str:
        """What is asked."""
        parts = urlsplit(self.url)
        path = parts.path.rstrip("/")
        return urlunsplit(parts._replace(path=path if path.endswith(PATH) else path + PATH, fragment=""))

    def __str__(self) -> str:
        return f"{self.model} at {self.url}"

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.model} at {urlsplit(self.url).netloc}"

    def ask(self, picture: Image.Image, vocabulary: Vocabulary, counted: Sequence[int]) -> tuple[tuple[int, ...], str]:
        """How many there are of each counted class, and the answer as it came.

        Raises:
            ServerError: the server does not answer, refuses, or answers nonsense.
        """
        names = [vocabulary.classes[label].queries for label in counted]
        text = self._asked(_request(self.model, picture, [synonyms[0] for synonyms in names]))
        try:
            found = counts_of_answer(text)
        except UnreadableAnswer as error:
            raise ServerError(f"{self.shown} gave no counts. {error}") from error
        own = {name.casefold(): place for place, synonyms in enumerate(names) for name in synonyms}
        own |= {vocabulary.titles[label].casefold(): place for place, label in enumerate(counted)}
        numbers = [0] * len(counted)
        for name, number in found.items():
            if (place := own.get(name.strip().casefold())) is not None:
                numbers[place] += int(number)
        if found and not any(name.strip().casefold() in own for name in found):
            raise ServerError(f"{self.shown} counted {brief(', '.join(found), most=80)}, none of which was asked for.")
        return tuple(numbers), text

    def _asked(self, body: Mapping[str, Any]) -> str:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise UsageError(f"{KEY} holds signs that no key has.")
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.address, json.dumps(body).encode(), headers, method="POST")
        try:
            content = _within(SECONDS, request)
        except urllib.error.HTTPError as error:
            hint = f" (is {KEY} set?)" if error.code in (401, 403) else ""
            hint = " (it points elsewhere, and the picture is sent nowhere else)" if 300 <= error.code < 400 else hint
            raise ServerError(f"{self.shown} refuses: {error.code} {brief(error.reason or '')}{hint}.") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = brief(str(getattr(error, "reason", error)) or type(error).__name__)
            raise ServerError(f"{self.shown} cannot be asked ({reason}); is the address right?") from error
        if len(content) > _MOST_BYTES:
            raise ServerError(f"{self.shown} answers with more than {_MOST_BYTES:,} bytes, which are no counts.")
        try:
            text = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise ServerError(f"{self.shown} does not answer as OpenAI's servers do.") from error
        if not isinstance(text, str):
            raise ServerError(f"{self.shown} answered without text.")
        return text


class _Stay(urllib.request.HTTPRedirectHandler):
    """Nothing is sent, and no key shown, to another address than the one that was given."""

    def redirect_request(self, *args: Any) -> None:
        """Refuse."""


def _within(seconds: float, request: urllib.request.Request) -> bytes:
    """The answer, in time; a thread waits for it, as a socket's own limit begins anew with every byte.

    Raises:
        OSError, HTTPException, ValueError: there is none.
    """
    box: queue.Queue[bytes | Exception] = queue.Queue()

    def ask() -> None:
        try:
            with urllib.request.build_opener(_Stay).open(request, timeout=seconds) as answer:
                box.put(answer.read(_MOST_BYTES + 1))
        except Exception as error:  # raised where it is waited for
            box.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = box.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no whole answer within {seconds:g} s") from None
    if isinstance(found, Exception):
        raise found
    return found


def _request(model: str, picture: Image.Image, names: Sequence[str]) -> dict[str, Any]:
    """What is sent: the picture, and what is to be counted."""
    stored = io.BytesIO()
    picture.convert("RGB").save(stored, format="PNG")
    url = "data:image/png;base64," + base64.b64encode(stored.getvalue()).decode("ascii")
    task = {
        "Persona": "You are an expert in counting objects in aerial and satellite images.",
        "Task": "Count the objects of the listed categories in the image.",
        "Categories": list(names),
        "Instructions": [
            "Count every object that is clearly visible, also small and dense ones.",
            "Use the category names as they are listed; a category that is not visible is 0.",
        ],
        "Output format": "One JSON object: the keys are the category names, the values whole numbers. Nothing else.",
    }
    content = [{"type": "text", "text": json.dumps(task)}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": model, "messages": [{"role": "user", "content": content}], "temperature": 0}
