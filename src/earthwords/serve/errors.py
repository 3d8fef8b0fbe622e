"""Errors as RFC 9457 tells them: `application/problem+json`, with our sentence as `detail`."""

from __future__ import annotations

import logging
import os
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import EarthwordsError, OutputError, SourceError, WeightsError, brief, is_out_of_memory

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
LOG = logging.getLogger("earthwords.serve")

_MEANINGS = {
    400: "The request cannot be read.",
    401: "The token is missing or wrong.",
    403: "Another site asks, or the place lies outside of what is served.",
    404: "There is no such thing.",
    405: "The path takes other methods.",
    408: "The body came too slowly.",
    409: "It contradicts what is there.",
    413: "The body is too large.",
    415: "The body is no JSON.",
    422: "The request says what cannot be done.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    503: "Too much waits, or what is needed is not there yet; `Retry-After` says when to ask again.",
    507: "The disk is full.",
}


class Problem(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, detail: str, *, headers: dict[str, str] | None = None, errors: Any = None) -> None:
        """
        Args:
            status: of HTTP.
            detail: one sentence for a person.
            headers: such as `Retry-After`.
            errors: what is wrong part by part.
        """
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.errors = errors

    def body(self) -> dict[str, Any]:
        """Of the answer."""
        found = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return found if self.errors is None else {**found, "errors": self.errors}

    def response(self) -> Response:
        """The answer."""
        from starlette.responses import JSONResponse

        return JSONResponse(self.body(), self.status, headers=self.headers, media_type=MEDIA_TYPE)


def not_found(what: str, key: str) -> Problem:
    """There is no such thing."""
    return Problem(404, f"There is no {what} {key!r}.")


def busy(detail: str, *, seconds: int = 2, status: int = 503) -> Problem:
    """Too much at once; ask again after so many seconds."""
    return Problem(status, detail, headers={"Retry-After": str(seconds)})


def problem_of(error: Exception) -> Problem:
    """What an error of the product, or an unexpected one, is told as."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, EarthwordsError):
        detail = " ".join((str(error), *getattr(error, "__notes__", ())))
        if isinstance(error, WeightsError):
            return busy(detail, seconds=60)
        if isinstance(error, OutputError):
            return Problem(507, detail)
        return Problem(404 if isinstance(error, SourceError) and "does not exist" in detail else 422, detail)
    if is_out_of_memory(error):
        return busy("Out of memory; ask for a smaller part, or for fewer words.", seconds=5)
    LOG.error("Unexpected failure", exc_info=error)
    return Problem(500, f"Unexpected failure ({brief(f'{type(error).__name__}: {error}')}); see the server's log.")


def without_folders(text: str, *folders: Path) -> str:
    """A sentence with paths below folders told relative to them: nobody learns from an answer where they lie."""
    for folder in sorted(folders, key=lambda folder: -len(str(folder))):
        text = text.replace(f"{folder}{os.sep}", "")
    return text


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what may go wrong everywhere, and these."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
    return {
        code: {"description": _MEANINGS[code], "content": {MEDIA_TYPE: schema}}
        for code in sorted({401, 403, 429, 503, *codes})
    }


def install(app: FastAPI) -> None:
    """Let the application tell every error so."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    async def known(request: Request, error: Exception) -> Response:
        problem, settings = problem_of(error), request.app.state.server.settings
        problem.detail = without_folders(problem.detail, settings.folder, settings.workspace)
        return problem.response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers, detail, status = dict(error.headers or {}), str(error.detail), error.status_code
        if status == 404 and detail == "Not Found":
            detail = f"There is nothing at {brief(request.url.path)}."
        if status == 405:
            headers = {"Allow": ", ".join(sorted(_methods(request)))}
            detail = f"{brief(request.method)} is nothing that can be done there; {headers['Allow']} is."
        if status == 400 and "parsing the body" in detail:  # FastAPI's word for what is no text at all
            status, detail = 422, "The body is no JSON."
        return Problem(status, detail, headers=headers).response()

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _invalid(error.errors()).response()

    for kind, handler in (
        (Problem, known),
        (EarthwordsError, known),
        (HTTPException, http),
        (RequestValidationError, invalid),
        (Exception, known),
    ):
        app.add_exception_handler(kind, handler)


def _methods(request: Request) -> set[str]:
    """What can be done at the path of a request, as `/openapi.json` tells."""
    described: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    found: set[str] = set()
    for template, methods in described.items():
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), request.url.path):
            found |= {name.upper() for name in methods}
    return found or {"GET"}


def _invalid(errors: Any) -> Problem:
    """What pydantic found, as one sentence and part by part."""
    parts = [
        {"place": ".".join(map(str, error.get("loc", ()))), "reason": str(error.get("msg", ""))} for error in errors
    ]
    first = parts[0] if parts else {"place": "request", "reason": "is invalid"}
    more = f" ({len(parts) - 1} more)" if len(parts) > 1 else ""
    return Problem(422, f"{brief(first['place'])}: {brief(first['reason'])}{more}.", errors=parts[:20])
