"""The application: who may ask, the routes, the page."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from earthwords import __version__
from earthwords.serve.errors import Problem, busy, install, problems
from earthwords.serve.guard import COOKIE, OPEN, Guard, cookie_of, headers_of, same
from earthwords.serve.library import Library
from earthwords.serve.schemas import ProblemBody, SessionBody, TokenAsked
from earthwords.serve.state import ServerState, ServeSettings
from earthwords.serve.tiles import TileCache

if TYPE_CHECKING:
    from fastapi import APIRouter

STATIC = Path(__file__).parent / "static"
"""The page, built from `web/`."""
ROUTERS = (
    "earthwords.serve.tiles",
    "earthwords.serve.marks",
    "earthwords.serve.words",
    "earthwords.serve.results",
    "earthwords.serve.export",
    "earthwords.serve.views.routes",
    "earthwords.serve.jobs.routes",
    "earthwords.serve.metrics",
)
"""Modules whose `router(state)` gives routes, in order."""
NO_PAGE = "The page is not built; run `make web` in the repository. The API works without it."


def new_state(settings: ServeSettings) -> ServerState:
    """What the routes share, at the begin."""
    return ServerState(settings=settings, library=Library(settings.folder, settings.workspace), tiles=TileCache())


def create_app(state: ServerState) -> FastAPI:
    """All routes, behind the guard."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        ended = []
        try:
            for start in state.starting:
                await start()
            ended = list(reversed(state.stopping))
            yield
        finally:
            for stop in ended:
                await stop()

    app = FastAPI(
        title="earthwords", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        description="Say what you are looking for, get it from satellite and aerial images, on the map.",
        separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.server = state
    install(app)
    _session(app, state)
    _health(app, state)
    for name in ROUTERS:
        if (found := _router(name, state)) is not None:
            app.include_router(found)
    _page(app)
    _describe(app)
    app.add_middleware(Guard, settings=state.settings)
    return app


def _router(name: str, state: ServerState) -> APIRouter | None:
    """The routes of a module; None: it is not part of this installation."""
    package = name.rpartition(".")[0]
    if importlib.util.find_spec(package) is None or importlib.util.find_spec(name) is None:
        return None
    router: APIRouter = importlib.import_module(name).router(state)
    return router


def _session(app: FastAPI, state: ServerState) -> None:
    token = state.settings.token

    @app.post("/api/session", status_code=204, response_class=Response, responses=problems(413, 415, 422))
    async def begin_session(asked: TokenAsked) -> Response:
        """Give the token, get a cookie."""
        if token is not None and not same(asked.token, token):
            raise Problem(401, "That is not the token; it stands in the address that the server printed.")
        answer = Response(status_code=204)
        answer.set_cookie(COOKIE, cookie_of(token), httponly=True, samesite="strict", path="/")
        return answer

    @app.get("/api/session", responses=problems())
    async def get_session(request: Request) -> SessionBody:
        """Whether the caller is known."""
        guard = Guard(app, settings=state.settings)
        return SessionBody(authenticated=guard.authenticated(headers_of(request.scope)))


def _health(app: FastAPI, state: ServerState) -> None:
    @app.get("/healthz", responses=problems())
    async def healthy() -> dict[str, str]:
        """The server answers."""
        return {"status": "ok"}

    @app.get("/readyz", responses=problems())
    async def ready() -> dict[str, str]:
        """Everything that takes time to load is loaded."""
        missing = [what for waiting in state.waiting if (what := waiting()) is not None]
        if missing:
            raise busy(f"Not ready yet: {', '.join(missing)}.", seconds=1)
        return {"status": "ready"}


def _page(app: FastAPI) -> None:
    """The page and its files; last, so that every other route goes before."""
    if not (STATIC / "index.html").is_file():

        @app.get("/", include_in_schema=False)
        async def no_page() -> Response:
            raise Problem(404, NO_PAGE)

        return
    from starlette.routing import Match
    from starlette.staticfiles import StaticFiles

    files = StaticFiles(directory=STATIC, html=True)

    @app.get("/{path:path}", include_in_schema=False, name="page")
    async def page(request: Request, path: str) -> Response:
        others = [route for route in app.routes if route.matches(request.scope)[0] is Match.PARTIAL]
        if others:  # of ours, with other methods than the page's
            scopes = ({**request.scope, "method": method} for method in ("DELETE", "PATCH", "POST", "PUT"))
            takes = [s["method"] for s in scopes if any(route.matches(s)[0] is Match.FULL for route in others)]
            raise Problem(405, f"{request.method} is nothing that /{path} takes.", headers={"Allow": ", ".join(takes)})
        return await files.get_response(files.get_path({**request.scope, "root_path": ""}), request.scope)


def _describe(app: FastAPI) -> None:
    """What `/openapi.json` tells beside the routes: errors, and how one is let in."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            parts = schema.setdefault("components", {})
            parts.setdefault("schemas", {})["ProblemBody"] = ProblemBody.model_json_schema()
            parts["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            }
            schema["security"] = [{"token": []}, {"cookie": []}]
            for path in OPEN & schema["paths"].keys():
                for route in schema["paths"][path].values():
                    route["security"] = []
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
