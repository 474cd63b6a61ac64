"""Stands for a CVAT server (read at 2.80): the routes that pull, push and auto-annotation use.

Only CVAT's own client speaks to it, whose models validate every reply. What is sent to it is held
to the client's models and `cvat_sdk.masks` too: a shape that they do not take is refused with 400.
"""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import quoteattr

from cvat_sdk import masks, models
from cvat_sdk.api_client.configuration import Configuration

from tests.loopback_servers import Handler, RefusedError, serving

TOKEN = "a-token"
DATE = "2026-11-30T10:00:00Z"


@dataclass
class Frame:
    """An image of a task."""

    name: str
    content: bytes
    height: int
    width: int


@dataclass
class Task:
    """A task: its frames, and its shapes as CVAT keeps them (frame, label_id, points, ...)."""

    id: int
    frames: list[Frame]
    project: int | None = None
    subset: str = ""
    mode: str = "annotation"
    deleted: list[int] = field(default_factory=list)
    shapes: list[dict[str, Any]] = field(default_factory=list)
    tags: list[dict[str, Any]] = field(default_factory=list)
    tracks: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Job:
    """A job: frames start..stop of a task."""

    id: int
    task: int
    start: int
    stop: int
    stage: str = "annotation"
    state: str = "new"
    type: str = "annotation"
    updated: str = DATE


@dataclass
class Records:
    """What the server holds, what it was asked, and how it is to fail."""

    labels: list[dict[str, Any]] = field(default_factory=list)
    tasks: dict[int, Task] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    exports: dict[str, tuple[str, int]] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)
    version: str = "2.80.0"
    # States that an export goes through, question by question; the last one stays.
    states: list[str] = field(default_factory=lambda: ["queued", "started", "finished"])
    # Statuses to answer with, by "METHOD path", one after the other.
    failures: dict[str, list[int]] = field(default_factory=dict)
    next_shape: int = 1000

    def label(self, name: str, kind: str = "any") -> int:
        """Add a label; returns its id."""
        number = 70 + len(self.labels)
        self.labels.append(
            {"id": number, "name": name, "color": "#33ddff", "type": kind, "attributes": [],
             "sublabels": [], "has_parent": False, "project_id": 7}
        )  # fmt: skip
        return number


@contextlib.contextmanager
def cvat_server(records: Records) -> Iterator[str]:
    """Serve the records on loopback; yield the base URL."""
    with serving(_handler(records)) as url:
        yield url


def _handler(records: Records) -> type[Handler]:
    class CvatHandler(Handler):
        def answer(self) -> None:
            body = self.body()
            url = urlsplit(self.path)
            records.requests.append((self.command, url.path))
            try:
                failures = records.failures.get(f"{self.command} {url.path}")
                if failures:
                    raise RefusedError(failures.pop(0), "as the test asked")
                if url.path != "/api/server/about" and (
                    self.headers.get("authorization") != f"Bearer {TOKEN}"
                ):
                    raise RefusedError(401, "Invalid token.")
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                steps = url.path.strip("/").split("/")[1:]
                status, reply = _route(records, self.command, steps, query, body, self._base())
            except RefusedError as refused:
                status, reply = refused.status, {"detail": str(refused)}
            self.reply(status, reply)

        def _base(self) -> str:
            return f"http://{self.headers['host']}"

    return CvatHandler


def _route(
    records: Records, method: str, steps: list[str], query: dict[str, str], body: bytes, base: str
) -> tuple[int, Any]:
    match method, steps:
        case "GET", ["server", "about"]:
            return 200, {"name": "CVAT", "description": "", "version": records.version,
                         "logo_url": "", "subtitle": ""}  # fmt: skip
        case "GET", ["labels"]:
            return 200, _page(records.labels, query)
        case "GET", ["jobs"]:
            jobs = [_job(records, job, base) for job in records.jobs.values()
                    if _belongs(records, job, query)]  # fmt: skip
            return 200, _page(jobs, query)
        case "GET", ["projects", "7"]:
            return 200, {"id": 7, "name": "Roads", "labels": {}, "tasks": {},
                         "updated_date": DATE}  # fmt: skip
        case "GET", ["tasks", number]:
            return 200, _task(_find(records.tasks, number), base)
        case "GET", ["jobs", number]:
            return 200, _job(records, _find(records.jobs, number), base)
        case "GET", [("tasks" | "jobs") as kind, number, "data", "meta"]:
            return 200, _meta(records, kind, number)
        case "GET", ["tasks", number, "data"]:
            return 200, _data(_find(records.tasks, number), query)
        case "GET", [("tasks" | "jobs") as kind, number, "annotations"]:
            return 200, _annotations(records, kind, number)
        case "PATCH", [("tasks" | "jobs") as kind, number, "annotations"]:
            return 200, _change(records, kind, number, query["action"], json.loads(body))
        case "GET", ["issues"]:
            job = int(query["job_id"])
            return 200, _page([issue for issue in records.issues if issue["job"] == job], query)
        case "POST", ["issues"]:
            return 201, _open_issue(records, json.loads(body))
        case "PUT", ["tasks", number, "annotations"]:
            _find(records.tasks, number).shapes.clear()
            return 200, _change(records, "tasks", number, "create", json.loads(body))
        case "POST", [("projects" | "tasks" | "jobs") as kind, number, "dataset", "export"]:
            request = f"action=export&target={kind}&id={number}&n={len(records.exports)}"
            records.exports[request] = (kind, int(number))
            return 202, {"rq_id": request}
        case "GET", ["requests", *rest]:
            return 200, _request(records, "/".join(rest), base)
        case "POST", ["requests", *rest, "cancel"]:
            records.cancelled.append("/".join(rest))
            return 200, {}
        case "GET", ["download", kind, number]:
            return 200, export_zip(records, kind, int(number))
    raise RefusedError(404, "Not found.")


def _find(things: dict[int, Any], number: str) -> Any:
    if not number.isdecimal() or int(number) not in things:
        raise RefusedError(404, "Not found.")
    return things[int(number)]


def _page(items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    page, size = int(query.get("page", 1)), int(query.get("page_size", 10))
    chosen = items[(page - 1) * size : page * size]
    more = "next" if page * size < len(items) else None
    return {"count": len(items), "next": more, "previous": None, "results": chosen}


def _belongs(records: Records, job: Job, query: dict[str, str]) -> bool:
    if "task_id" in query and int(query["task_id"]) != job.task:
        return False
    return "project_id" not in query or records.tasks[job.task].project == int(query["project_id"])


def _task(task: Task, base: str) -> dict[str, Any]:
    return {
        "id": task.id, "name": f"Task {task.id}", "project_id": task.project, "url": base,
        "jobs": {"completed": 0, "validation": 0, "count": 1}, "labels": {"url": base},
        "subset": task.subset, "mode": task.mode, "size": len(task.frames), "data_chunk_size": 2,
        "data_original_chunk_type": "imageset", "dimension": "2d", "updated_date": DATE,
        "created_date": DATE, "status": "annotation", "organization": None, "organization_id": None,
    }  # fmt: skip


def _job(records: Records, job: Job, base: str) -> dict[str, Any]:
    task = records.tasks[job.task]
    return {
        "id": job.id, "task_id": job.task, "task_name": f"Task {job.task}", "url": base,
        "project_id": task.project, "stage": job.stage, "state": job.state, "type": job.type,
        "start_frame": job.start, "stop_frame": job.stop, "updated_date": job.updated,
        "issues": {"count": 0}, "labels": {"url": base},
    }  # fmt: skip


def _meta(records: Records, kind: str, number: str) -> dict[str, Any]:
    task, start, stop = _range(records, kind, number)
    return {
        "chunks_updated_date": DATE, "size": len(task.frames), "start_frame": start,
        "stop_frame": stop, "deleted_frames": task.deleted, "chapters": None,
        "included_frames": None, "chunk_size": 2, "image_quality": 100, "frame_filter": "",
        "frames": [
            {"name": frame.name, "width": frame.width, "height": frame.height,
             "related_files": 0, "has_related_context": False}
            for frame in task.frames[start : stop + 1]
        ],
    }  # fmt: skip


def _range(records: Records, kind: str, number: str) -> tuple[Task, int, int]:
    if kind == "tasks":
        task = _find(records.tasks, number)
        return task, 0, len(task.frames) - 1
    job = _find(records.jobs, number)
    return records.tasks[job.task], job.start, job.stop


def _data(task: Task, query: dict[str, str]) -> bytes:
    number = int(query["number"])
    if query["type"] == "frame":
        if number >= len(task.frames):
            raise RefusedError(404, "Not found.")
        return task.frames[number].content
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for index, frame in enumerate(task.frames[2 * number : 2 * number + 2]):
            archive.writestr(f"{index:06d}.png", frame.content)
    return packed.getvalue()


def _annotations(records: Records, kind: str, number: str) -> dict[str, Any]:
    task, start, stop = _range(records, kind, number)

    def inside(things: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [thing for thing in things if start <= thing["frame"] <= stop]

    return {"version": 1, "tags": inside(task.tags), "shapes": inside(task.shapes),
            "tracks": inside(task.tracks)}  # fmt: skip


def _change(
    records: Records, kind: str, number: str, action: str, body: dict[str, Any]
) -> dict[str, Any]:
    task, start, stop = _range(records, kind, number)
    configuration = Configuration()
    models.PatchedLabeledDataRequest._from_openapi_data(
        **body, _configuration=configuration, _spec_property_naming=True
    )
    known = {label["id"]: label for label in records.labels}
    for shape in body["shapes"]:
        frame = task.frames[shape["frame"]]
        if not start <= shape["frame"] <= stop or shape["label_id"] not in known:
            raise RefusedError(400, "a shape outside of the job, or of an unknown label")
        if known[shape["label_id"]]["type"] not in ("any", shape["type"]):
            raise RefusedError(400, "a shape of another type than its label")
        if shape["type"] == "mask":
            masks.decode_mask(shape["points"], image_width=frame.width, image_height=frame.height)
    if action == "delete":
        gone = {shape["id"] for shape in body["shapes"]}
        task.shapes[:] = [shape for shape in task.shapes if shape["id"] not in gone]
        return body
    for shape in body["shapes"]:
        records.next_shape += 1
        task.shapes.append({"group": 0, "elements": [], **shape, "id": records.next_shape})
    return body


def _open_issue(records: Records, body: dict[str, Any]) -> dict[str, Any]:
    models.IssueWriteRequest._from_openapi_data(
        **body, _configuration=Configuration(), _spec_property_naming=True
    )
    job = _find(records.jobs, str(body["job"]))
    if not job.start <= body["frame"] <= job.stop or len(body["position"]) % 2:
        raise RefusedError(400, "an issue outside of the job, or at no place")
    issue = {**body, "id": len(records.issues) + 1, "resolved": False}
    records.issues.append(issue)
    return issue


def _request(records: Records, name: str, base: str) -> dict[str, Any]:
    if name not in records.exports or name in records.cancelled:
        raise RefusedError(404, "Not found.")
    state = records.states[0] if len(records.states) == 1 else records.states.pop(0)
    if state == "cancelled":
        raise RefusedError(404, "Not found.")
    kind, number = records.exports[name]
    return {
        "id": name, "status": state, "created_date": DATE, "progress": 0.5,
        "message": "No space left on device" if state == "failed" else "",
        "operation": {"type": "export:dataset", "target": kind.removesuffix("s")},
        "result_url": f"{base}/api/download/{kind}/{number}" if state == "finished" else None,
    }  # fmt: skip


def export_zip(records: Records, kind: str, number: int) -> bytes:
    """Write an export as CVAT does, "CVAT for images 1.1"."""
    if kind == "projects":
        ranges = [(task, 0, len(task.frames) - 1) for task in records.tasks.values()
                  if task.project == number]  # fmt: skip
    else:
        ranges = [_range(records, kind, str(number))]
    names = {label["id"]: label["name"] for label in records.labels}
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "<version>1.1</version>"]
    lines.append(f"<meta><{kind.removesuffix('s')}><id>{number}</id><labels>")
    lines += [
        f"<label><name>{label['name']}</name><color>{label['color']}</color>"
        f"<type>{label['type']}</type><attributes></attributes></label>"
        for label in records.labels
    ]
    lines.append(f"</labels></{kind.removesuffix('s')}></meta>")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for task, start, stop in ranges:
            for index in range(start, stop + 1):
                if index in task.deleted:
                    continue
                frame = task.frames[index]
                project = (
                    f' subset={quoteattr(task.subset)} task_id="{task.id}"'
                    if kind == "projects"
                    else ""
                )
                lines.append(
                    f'<image id="{index}" name={quoteattr(frame.name)}{project} '
                    f'width="{frame.width}" height="{frame.height}">'
                )
                lines += [_xml(shape, names) for shape in task.shapes if shape["frame"] == index]
                lines.append("</image>")
                folder = f"{task.subset}/" if kind == "projects" and task.subset else ""
                archive.writestr(_entry(f"images/{folder}{frame.name}"), frame.content)
        lines.append("</annotations>")
        archive.writestr(_entry("annotations.xml"), "\n".join(lines))
    return packed.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    # One date, so that the same labels are the same bytes.
    return zipfile.ZipInfo(name, (2026, 11, 30, 10, 0, 0))


def _xml(shape: dict[str, Any], names: dict[int, str]) -> str:
    *runs, left, top, right, bottom = (int(value) for value in shape["points"])
    return (
        f'<mask label={quoteattr(names[shape["label_id"]])} source="{shape["source"]}" '
        f'occluded="0" rle="{", ".join(map(str, runs))}" left="{left}" top="{top}" '
        f'width="{right - left + 1}" height="{bottom - top + 1}" z_order="0"></mask>'
    )
