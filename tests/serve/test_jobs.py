"""Jobs: the queue, the child processes, and that nothing is lost when one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from earthwords.serve.errors import Problem
from earthwords.serve.jobs.child import JobChild, began, end_left_over, program
from earthwords.serve.jobs.queue import MOST_ATTEMPTS, MOST_QUEUED, JobQueue
from earthwords.synthetic.render import render_scene
from tests.conftest import ROOT, write_raster
from tests.serve.conftest import PLACE, Running, finish, start

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from earthwords.serve.state import ServerState

WORDS = ["building,roof", "road", "grass"]


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    made = JobQueue(tmp_path)
    yield made
    made.close()


def until(found: Callable[[], Any], *, seconds: float = 240) -> Any:
    """What something gives as soon as it gives anything."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < deadline:
        if value := found():
            return value
        pause.wait(0.1)
    raise AssertionError("it did not happen in time")


def test_jobs_are_done_in_order_and_each_by_one(queue: JobQueue, tmp_path: Path) -> None:
    ids = [queue.submit("segment", {"source": f"s{i}"}, label="").id for i in range(6)]
    other = JobQueue(tmp_path)
    claimed: list[str] = []

    def work(own: JobQueue) -> None:
        while (job := own.claim(timeout=0)) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=work, args=(own,)) for own in (queue, other, queue)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert sorted(claimed) == sorted(ids) and len(set(claimed)) == 6
    job = queue.get(ids[0])
    assert (job.state, job.attempts) == ("running", 1) and job.started is not None
    assert [job.id for job in queue.newest(limit=2)] == ids[:-3:-1]
    assert [job.id for job in queue.newest(before=ids[2])] == [ids[1], ids[0]]


def test_the_same_key_is_the_same_job(queue: JobQueue) -> None:
    first = queue.submit("segment", {"source": "a", "words": ["x"]}, label="", key="k")
    assert queue.submit("segment", {"words": ["x"], "source": "a"}, label="", key="k").id == first.id
    with pytest.raises(Problem, match="Idempotency-Key") as told:
        queue.submit("segment", {"source": "b"}, label="", key="k")
    assert told.value.status == 409 and len(queue.newest()) == 1


def test_the_queue_is_bounded(queue: JobQueue) -> None:
    for _ in range(MOST_QUEUED):
        queue.submit("segment", {}, label="")
    with pytest.raises(Problem) as told:
        queue.submit("segment", {}, label="")
    assert told.value.status == 503 and int(told.value.headers["Retry-After"]) > 0


def test_wishes_and_ways_back(queue: JobQueue) -> None:
    waiting, running = (queue.submit("segment", {"source": s}, label="").id for s in "ab")
    assert queue.wish_end(waiting).state == "cancelled"
    claimed = queue.claim(timeout=0)
    assert claimed is not None and claimed.id == running
    assert queue.wish_end(running).state == "running" and queue.get(running).wish == "cancelled"
    for call, id in ((queue.delete, running), (queue.resume, running), (queue.wish_end, waiting)):
        with pytest.raises(Problem) as told:
            call(id)
        assert told.value.status == 409
    queue.end(running, "failed", error="No.")
    again = queue.resume(running)
    assert (again.state, again.attempts, again.error, again.wish) == ("queued", 0, None, None)
    queue.delete(waiting)
    with pytest.raises(Problem) as told:
        queue.get(waiting)
    assert told.value.status == 404
    assert queue.counts() == {"queued": 1}


def test_every_change_is_an_event(queue: JobQueue) -> None:
    called: list[int] = []
    ended = queue.listen(lambda: called.append(1))
    id = queue.submit("segment", {"source": "a"}, label="a").id
    before = queue.last_event()
    queue.claim(timeout=0)
    queue.change(id, progress={"done": 1, "total": 4})
    queue.emit("tile", {"job": id, "result": id})
    ended()
    queue.end(id, "succeeded")
    events = queue.events(before)
    assert [kind for _, kind, _ in events] == ["job", "job", "tile", "job"]
    assert [json.loads(data).get("state") for _, _, data in events] == ["running", "running", None, "succeeded"]
    assert json.loads(events[1][2])["progress"] == {"done": 1, "total": 4} and "pid" not in json.loads(events[1][2])
    assert queue.events(events[2][0]) == events[3:] and len(called) == 4


def test_a_number_used_again_is_nobody_s_child() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        its_begin = began(process.pid)
        assert its_begin is not None and began(2**22 + 7) is None
        assert not end_left_over(process.pid, "another time") and process.poll() is None
        assert not end_left_over(None, None)
        ender = threading.Thread(target=end_left_over, args=(process.pid, its_begin))
        ender.start()
        assert process.wait(timeout=20) == -signal.SIGTERM
        ender.join()
        assert began(process.pid) is None
    finally:
        process.kill()
        process.wait()


def test_a_child_that_does_not_listen_is_ended_by_force(tmp_path: Path) -> None:
    """It tells an event and plain lines, some of which are no text."""
    (tmp_path / "stubborn.py").write_text(
        "import signal, sys, threading\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sys.stderr.buffer.write(b'plain \\xff line\\n')\n"
        'print(\'{"event": "note", "kind": "note", "text": "here"}\', file=sys.stderr, flush=True)\n'
        "print('[1, 2]', file=sys.stderr, flush=True)\n"
        "threading.Event().wait()\n"
    )
    child = JobChild.begin([sys.executable, str(tmp_path / "stubborn.py")])
    child.go()
    events = child.events()
    assert next(events) == {"event": "note", "kind": "note", "text": "here"}
    child.end(grace=0.2)
    assert list(events) == [] and child.process.returncode == -signal.SIGKILL
    assert child.last == ["plain \ufffd line", "[1, 2]"]


@pytest.mark.skipif(os.name != "posix", reason="a process becomes no other one there")
def test_a_child_whose_server_dies_before_its_number_is_written_down_does_nothing(tmp_path: Path) -> None:
    written = tmp_path / "written"
    argv = [
        sys.executable,
        "-c",
        f"open({str(written)!r}, 'w').write(input.__name__ + repr(__import__('sys').stdin.read()))",
    ]
    lost, told = JobChild.begin(argv), JobChild.begin(argv)
    assert lost.process.stdin is not None
    lost.process.stdin.close()
    assert list(lost.events()) == [] and lost.process.returncode == 0 and not written.exists()
    number, its_begin = told.pid, began(told.pid)
    told.go()
    assert list(told.events()) == [] and (told.pid, told.process.returncode) == (number, 0) and its_begin is not None
    assert written.read_text() == "input''", "its own input is empty"


def test_the_command_is_the_installed_one() -> None:
    argv = program("earthwords", "--version")
    assert argv[0] == sys.executable and argv[-3:] == ["-m", "earthwords", "--version"]


def test_what_no_job_can_do_is_refused_before_it_is_queued(client: TestClient) -> None:
    source = next(s for s in client.get("/api/sources").json()["sources"] if s["name"] == "town.tif")
    for kind, arguments, status, said in (
        ("segment", {"source": source["id"]}, 422, "Say what to look for"),
        ("segment", {"source": "nothing-here", "words": ["a"]}, 404, "no source"),
        ("segment", {"source": source["id"], "words": ["a"], "align": True}, 422, "takes no 'align'"),
        ("segment", {"source": source["id"], "taught": "nothing-here"}, 404, "no teaching"),
        ("change", {"sources": [source["id"]], "words": ["a"]}, 422, "two sources"),
        ("count", {"source": source["id"]}, 422, "needs 'words'"),
        ("refer", {"source": source["id"], "words": ["a"]}, 422, "takes no 'words'"),
        ("teach", {"source": source["id"], "words": ["a"]}, 422, "no marks"),
        ("segment", {"source": source["id"], "words": ["a"], "other": 1}, 422, "other"),
        ("dance", {"source": source["id"]}, 422, "kind"),
        ("segment", {"source": source["id"], "words": ["   "]}, 422, "has no name"),
        ("segment", {"source": source["id"], "words": [","]}, 422, "has no name"),
        ("count", {"source": source["id"], "words": ["water", "water"]}, 422, "given twice"),
        ("segment", {"source": source["id"], "words": ["--debug"]}, 422, "holds '--debug'"),
        ("segment", {"source": source["id"], "words": ["a\0b"]}, 422, "match pattern"),
        ("refer", {"source": source["id"], "sentences": ["the\0ship"]}, 422, "match pattern"),
        ("refer", {"source": source["id"], "sentences": ["the ship", "the  ship"]}, 422, "given twice"),
    ):
        answer = client.post("/api/jobs", json={"kind": kind, "arguments": arguments})
        assert answer.status_code == status and said in answer.json()["detail"], answer.text
    assert client.get("/api/jobs").json() == {"jobs": []}
    assert client.get("/api/jobs/nothing-here").status_code == 404
    assert client.get("/api/jobs", params={"before": "nothing-here"}).status_code == 404
    west, south, _, _ = source["bounds"]
    mark = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [west, south]},
        "properties": {"class": "a\0b"},
    }
    saved = client.put(f"/api/sources/{source['id']}/marks", json={"type": "FeatureCollection", "features": [mark]})
    assert saved.status_code == 422 and "match pattern" in saved.json()["detail"]


def test_a_job_whose_child_cannot_be_started_has_failed(client: TestClient, state: ServerState) -> None:
    """A queue of an earlier version may hold what no command line can."""
    source = next(s for s in client.get("/api/sources").json()["sources"] if s["name"] == "town.tif")
    job = state.jobs.queue.submit("refer", {"source": source["id"], "sentences": ["the\0ship"]}, label="")
    ended = until(lambda: found if (found := state.jobs.get(job.id)).state == "failed" else None, seconds=30)
    assert "null byte" in ended.error and ended.attempts == 1


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one rendered scene; outputs tell no time."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    folder = tmp_path / "root"
    folder.mkdir()
    scene = render_scene(height=230, width=470, seed=5, conditions=())
    data = scene.image.transpose(2, 0, 1)
    write_raster(folder / "town.tif", data, photometric="RGB", transform=PLACE, crs="EPSG:32632")
    return folder


def submit(server: Running, source: str, **more: str) -> dict[str, Any]:
    status, body = server.ask(
        "/api/jobs", {"kind": "segment", "arguments": {"source": source, "words": WORDS, "threshold": 0.3}}, **more
    )
    assert status == 202, body
    job: dict[str, Any] = json.loads(body)
    return job


def job_of(server: Running, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.ask(f"/api/jobs/{id}")[1])
    return found


def state_is(server: Running, id: str, *states: str) -> dict[str, Any]:
    return until(lambda: found if (found := job_of(server, id))["state"] in states else None)  # type: ignore[no-any-return]


def at_work(server: Running, id: str) -> bool:
    """Whether windows are being computed."""
    return ((job_of(server, id)["progress"] or {}).get("what")) == "segmenting"


def undisturbed(folder: Path, into: Path) -> dict[str, bytes]:
    """What the command makes by itself."""
    words = [part for word in WORDS for part in ("-t", word)]
    argv = program("earthwords", "segment", str(folder / "town.tif"), str(into), *words, "--threshold", "0.3",
                   "--probabilities", "uint8", "--against", "auto", "--device", "cpu", "--quiet")  # fmt: skip
    subprocess.run(argv, check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    return {name: (into / name).read_bytes() for name in ("labels.tif", "probabilities.tif", "polygons.gpkg")}


def test_killed_servers_and_children_lose_nothing(served: Path, tmp_path: Path) -> None:
    """kill -9 of the child, then of the server in mid-job: the next server ends with the bytes of a quiet run."""
    server = start(served, "--device", "cpu")
    try:
        source = json.loads(server.ask("/api/sources")[1])["sources"][0]["id"]
        job = submit(server, source, **{"Idempotency-Key": "once"})
        assert submit(server, source, **{"Idempotency-Key": "once"})["id"] == job["id"]
        until(lambda: at_work(server, job["id"]))
        os.kill(pid_of(served, job["id"]), signal.SIGKILL)
        until(lambda: (found := job_of(server, job["id"]))["attempts"] == 2 and found["state"] == "running")
        child = until(lambda: pid_of(served, job["id"]))
        until(lambda: at_work(server, job["id"]))
        server.process.kill()
        server.process.communicate(timeout=30)
        server = start(served, "--device", "cpu")
        until(lambda: began(child) is None)
        ended = state_is(server, job["id"], "succeeded", "failed")
        assert (ended["state"], ended["attempts"], ended["error"]) == ("succeeded", MOST_ATTEMPTS, None)
        folder = served / ".earthwords" / "results" / ended["result"]
        for name, data in undisturbed(served, tmp_path / "quiet").items():
            assert (folder / name).read_bytes() == data, name
        events = replayed(server, after=0)
        assert events[0][0] == "job" and "tile" in {kind for kind, _ in events}
        states = [data["state"] for kind, data in events if kind == "job"]
        assert states[0] == "queued" and states[-1] == "succeeded"
        assert server.ask(f"/api/jobs/{job['id']}/cancel", {})[0] == 409
    finally:
        finish(server)


def pid_of(folder: Path, id: str) -> int:
    """Of the child of a job; 0: there is none."""
    queue = JobQueue(folder / ".earthwords")
    try:
        return queue.get(id).pid or 0
    finally:
        queue.close()


def replayed(server: Running, *, after: int) -> list[tuple[str, dict[str, Any]]]:
    """Events after a number, until the job has succeeded."""
    headers = {"Authorization": f"Bearer {server.token}", "Last-Event-ID": str(after)}
    request = urllib.request.Request(f"{server.address}/api/events", headers=headers)
    found, kind, number = [], "", after
    with urllib.request.urlopen(request, timeout=30) as stream:
        for line in stream:
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name == "id":
                assert int(value) > number
                number = int(value)
            elif name == "event":
                kind = value
            elif name == "data":
                found.append((kind, json.loads(value)))
                if found[-1][1].get("state") == "succeeded":
                    return found
    raise AssertionError("the stream ended")


@pytest.mark.slow
def test_what_is_cancelled_ends_at_once_and_goes_on(served: Path) -> None:
    server = start(served, "--device", "cpu")
    try:
        source = json.loads(server.ask("/api/sources")[1])["sources"][0]["id"]
        job, waiting = submit(server, source), submit(server, source)
        until(lambda: at_work(server, job["id"]))
        child = pid_of(served, job["id"])
        assert server.ask(f"/api/jobs/{job['id']}/cancel", {})[0] == 202
        ended = state_is(server, job["id"], "cancelled", "succeeded", "failed")
        assert ended["state"] == "cancelled" and began(child) is None
        assert server.ask(f"/api/jobs/{waiting['id']}/cancel", {})[0] == 202
        assert server.ask(f"/api/jobs/{job['id']}/resume", {})[0] == 202
        assert state_is(server, job["id"], "succeeded", "failed")["state"] == "succeeded"
        assert state_is(server, waiting["id"], "cancelled", "succeeded", "failed")["state"] == "cancelled"
    finally:
        finish(server)
