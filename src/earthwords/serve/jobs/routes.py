"""Routes of jobs, and the stream of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from sse_starlette.sse import EventSourceResponse

from earthwords.serve.errors import problems
from earthwords.serve.jobs.events import stream
from earthwords.serve.jobs.schemas import JobAsked, JobBody, JobsBody
from earthwords.serve.jobs.service import JobService
from earthwords.serve.schemas import Key
from earthwords.serve.tiles import Id

if TYPE_CHECKING:
    from earthwords.serve.state import ServerState

PING_S = 15
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
LastEvent = Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^\d{1,15}$")]


def router(state: ServerState) -> APIRouter:
    """`/api/jobs` and `/api/events`."""
    jobs = JobService(state)
    state.jobs = jobs
    state.events = jobs.queue
    state.starting.append(jobs.start)
    state.stopping.append(jobs.stop)
    routes = APIRouter(prefix="/api", tags=["jobs"])

    @routes.post("/jobs", status_code=202, responses=problems(404, 409, 413, 415, 422))
    async def submit_job(response: Response, asked: JobAsked, idempotency_key: IdempotencyKey = None) -> JobBody:
        """Queue a job; the same `Idempotency-Key` gives the same job."""
        arguments = asked.arguments.model_dump(exclude_none=True)
        job = await state.run(jobs.submit, asked.kind, arguments, key=idempotency_key)
        response.headers["Location"] = f"/api/jobs/{job.id}"
        return JobBody(**job.body())

    @routes.get("/jobs", responses=problems(404, 422))
    async def list_jobs(limit: Annotated[int, Query(ge=1, le=200)] = 50, before: Key | None = None) -> JobsBody:
        """Jobs, the newest first; `before` is the last id of the page before."""
        return JobsBody(jobs=[JobBody(**job.body()) for job in jobs.queue.newest(limit=limit, before=before)])

    @routes.get("/jobs/{id}", responses=problems(404, 422))
    async def get_job(id: Id) -> JobBody:
        """A job."""
        return JobBody(**jobs.get(id).body())

    @routes.post("/jobs/{id}/cancel", status_code=202, responses=problems(404, 409, 422))
    async def cancel_job(id: Id) -> JobBody:
        """Let a job end; what is done stays."""
        return JobBody(**jobs.cancel(id).body())

    @routes.post("/jobs/{id}/resume", status_code=202, responses=problems(404, 409, 422))
    async def resume_job(id: Id) -> JobBody:
        """Go on with a job that was cancelled or has failed."""
        return JobBody(**jobs.resume(id).body())

    @routes.delete("/jobs/{id}", status_code=204, response_class=Response, responses=problems(404, 409, 422))
    async def delete_job(id: Id) -> Response:
        """Forget a job that is over, and its result."""
        await state.run(jobs.delete, id)
        return Response(status_code=204)

    @routes.get(
        "/events",
        response_class=EventSourceResponse,
        responses={200: {"description": "Events, until the client goes.", "content": {"text/event-stream": {}}},
                   **problems(422)},
    )  # fmt: skip
    async def get_events(last_event_id: LastEvent = None) -> Any:
        """`job` whenever a job changes, `tile` when more of a running map is there."""
        after = None if last_event_id is None else int(last_event_id)
        return EventSourceResponse(stream(jobs.queue, after), ping=PING_S)

    return routes
