"""Export a project, task or job from a CVAT server, and say what it holds today."""

import contextlib
import logging
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segmentor.cvat.address import CvatUri
from segmentor.cvat.merging import Job, merging
from segmentor.cvat.server import CvatServer
from segmentor.digests import digest_json
from segmentor.errors import CvatError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri, is_object_uri

logger = logging.getLogger(__name__)

# The only export without loss: shapes as drawn, with their order.
FORMAT = "CVAT for images 1.1"
SECONDS_BETWEEN_QUESTIONS = 2.0
SECONDS_BETWEEN_LINES = 10.0
# An export of some hundred thousand images takes hours.
DEADLINE = 6 * 3600.0


@dataclass(frozen=True)
class SourceState:
    """What a project, task or job holds today; kept in the data set's provenance.

    Attributes:
        uri: The address.
        version: Version of the server.
        name: Name of the project or task.
        jobs: All jobs that are exported, in the order of their ids.
        labels: Name, type and color of each label.
    """

    uri: str
    version: str
    name: str
    jobs: tuple[Job, ...]
    labels: tuple[tuple[str, str, str], ...]

    @property
    def updated(self) -> str:
        """When the newest of the jobs changed, ISO 8601."""
        return max((job.updated for job in self.jobs), default="")

    @property
    def digest(self) -> str:
        """Digest of what decides the export; another one means that the labels have changed.

        The server's version is left out: an upgrade changes no label.
        """
        facts = {key: value for key, value in asdict(self).items() if key != "version"}
        return digest_json(facts)


def read_state(server: CvatServer, uri: CvatUri) -> SourceState:
    """Ask the server what an address holds today.

    Raises:
        CvatError: the server is away or refuses, or no job passes the filters.
    """
    version = server.version()
    target = server.get(f"{uri.kind}/{uri.number}")
    of_one = {f"{uri.noun}_id": uri.number}
    jobs = [
        Job(int(job["id"]), int(job["task_id"]), subset, str(job["updated_date"]))
        for job, subset in selected_jobs(server, uri)
    ]
    labels = server.items("labels", **of_one)
    return SourceState(
        uri=str(uri),
        version=version,
        name=str(target.get("name") or target.get("task_name") or ""),
        jobs=tuple(jobs),
        labels=tuple(sorted((item["name"], str(item["type"]), item["color"]) for item in labels)),
    )


def selected_jobs(server: CvatServer, uri: CvatUri) -> list[tuple[dict[str, Any], str]]:
    """Return the jobs of annotators that pass an address's filters, by id, and their subsets.

    Raises:
        CvatError: the server is away or refuses, or no job passes the filters.
    """
    of_one = {f"{uri.noun}_id": uri.number}
    is_job = uri.kind == "jobs"
    found = [server.get(f"jobs/{uri.number}")] if is_job else list(server.items("jobs", **of_one))
    subsets: dict[int, str] = {}
    jobs = []
    for job in sorted(found, key=lambda job: int(job["id"])):
        # Ground truth and consensus replicas hold the same images as the annotators' jobs.
        if job.get("type", "annotation") != "annotation":
            continue
        if uri.states and job["state"] not in uri.states:
            continue
        if uri.stages and job["stage"] not in uri.stages:
            continue
        task = int(job["task_id"])
        if task not in subsets:
            subsets[task] = str(server.get(f"tasks/{task}").get("subset") or "")
        if uri.subsets and subsets[task] not in uri.subsets:
            continue
        jobs.append((job, subsets[task]))
    if not jobs:
        raise CvatError(
            str(uri),
            f"no job ({_count(found)})",
            "at least one that passes the filters",
            "finish one in CVAT, or leave the filters out",
        )
    return jobs


def _count(jobs: list[dict[str, Any]]) -> str:
    """Return how many jobs there are at each stage and state."""
    counts: dict[str, int] = {}
    for job in jobs:
        key = f"{job['stage']}, {job['state']}"
        counts[key] = counts.get(key, 0) + 1
    return "; ".join(f"{count} x {key}" for key, count in counts.items()) or "there is none"


def pull(
    server: CvatServer,
    uri: CvatUri,
    target: Path,
    deadline: float = DEADLINE,
    interval: float = SECONDS_BETWEEN_QUESTIONS,
) -> SourceState:
    """Export what an address names; the export appears at `target` when it is whole.

    Without filters the server makes one export. With filters each job is exported by itself, and
    their annotations and images are put together.

    Args:
        server: The session.
        uri: What to export.
        target: The zip file to write.
        deadline: Seconds for each export of the server.
        interval: Seconds between two questions about an export's progress.

    Returns:
        What was exported.

    Raises:
        CvatError: the server is away, refuses, fails, or takes too long; the labels changed
            meanwhile.
    """
    state = read_state(server, uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=target.parent) as folder:
        partial = Path(folder, "export")
        if uri.is_filtered:
            with merging(partial) as merged:
                for number, job in enumerate(state.jobs):
                    logger.info("cvat export job=%d done=%d/%d", job.id, number, len(state.jobs))
                    part = Path(folder, f"job-{job.id}.zip")
                    _export(server, "jobs", job.id, part, uri.cloud_storage, deadline, interval)
                    merged.add(part, job)
                    part.unlink()
        else:
            _export(server, uri.kind, uri.number, partial, uri.cloud_storage, deadline, interval)
            if not zipfile.is_zipfile(partial):
                raise CvatError(str(uri), "a damaged export", "a zip file", "pull again")
        if read_state(server, uri).digest != state.digest:
            raise CvatError(
                str(uri),
                "labels that changed while they were exported",
                "the same before and after",
                "pull again when nobody is annotating",
            )
        partial.rename(target)
    return state


def pull_to(server: CvatServer, uri: CvatUri, output: str) -> tuple[SourceState, str]:
    """Export to a place that a person names.

    Args:
        server: The session.
        uri: What to export.
        output: A zip file, a folder to put one into, or an s3:// URI of a zip file or prefix.

    Returns:
        What was exported, and where it is.

    Raises:
        CvatError: see `pull`.
        StoreError: the object store is away, or refuses.
    """
    name = f"{uri.noun}-{uri.number}.zip"
    if not is_object_uri(output):
        path = Path(output)
        target = path if path.suffix == ".zip" and not path.is_dir() else path / name
        return pull(server, uri, target), str(target)
    key = ObjectUri.parse(output)
    key = key if key.key.endswith(".zip") else key.child(name)
    store = ObjectStore.from_environment()
    with tempfile.TemporaryDirectory() as folder:
        state = pull(server, uri, Path(folder, name))
        store.upload_file(Path(folder, name), key)
    return state, str(key)


def _export(
    server: CvatServer,
    kind: str,
    number: int,
    target: Path,
    storage: int | None,
    deadline: float,
    interval: float,
) -> None:
    query: dict[str, Any] = {"format": FORMAT, "save_images": "true"}
    if storage is None:
        with _finished(server, kind, number, query, deadline, interval) as request:
            url = str(request.get("result_url") or "")
            if not url:
                raise CvatError(
                    f"{server.url}/api/requests/{request['id']}", "no result_url", "a download"
                )
            server.download(url, target)
        return
    # The server writes into the user's own bucket, and the pixels never pass through its web tier.
    bucket = server.get(f"cloudstorages/{storage}")
    if bucket["provider_type"] != "AWS_S3_BUCKET":
        raise CvatError(
            f"{server.url}/api/cloudstorages/{storage}",
            f"a storage of type {bucket['provider_type']}",
            "AWS_S3_BUCKET",
            "leave cloud_storage out to download the export from the server",
        )
    name = f"segmentor/{kind}-{number}-{time.time_ns()}.zip"
    query |= {"location": "cloud_storage", "cloud_storage_id": storage, "filename": name}
    with _finished(server, kind, number, query, deadline, interval):
        store = ObjectStore.from_environment()
        store.download(ObjectUri(str(bucket["resource"]), name), target)


@contextlib.contextmanager
def _finished(
    server: CvatServer,
    kind: str,
    number: int,
    query: dict[str, Any],
    deadline: float,
    interval: float,
) -> Iterator[dict[str, Any]]:
    """Start an export and wait for it; it is cancelled when anything ends the wait."""
    where = f"{server.url}/{kind}/{number}"
    request_id = server.send("POST", f"{kind}/{number}/dataset/export", **query)["rq_id"]
    try:
        request = _wait(server, where, request_id, deadline, interval)
    except BaseException:
        with contextlib.suppress(CvatError):
            server.send("POST", f"requests/{request_id}/cancel")
        raise
    yield request


def _wait(
    server: CvatServer, where: str, request_id: str, deadline: float, interval: float
) -> dict[str, Any]:
    # CVAT's client waits without a deadline, and for ever where the export was cancelled.
    start = said = time.monotonic()
    while True:
        try:
            request = server.get(f"requests/{request_id}")
        except CvatError as error:
            if "HTTP 404" in error.found:
                raise CvatError(
                    where, "an export that was cancelled, or is forgotten", remedy="pull again"
                ) from error
            raise
        status, now = request["status"], time.monotonic()
        if status == "finished":
            logger.info("cvat export source=%s elapsed_s=%.0f", where, now - start)
            return dict(request)
        if status not in ("queued", "started"):
            message = " ".join(str(request.get("message") or "no reason given").split())[:300]
            raise CvatError(where, f"the export {status}: {message}", remedy="see CVAT's log")
        if now - start > deadline:
            raise CvatError(
                where,
                f"an export that is {status} after {now - start:.0f} s",
                f"one that is finished within {deadline:.0f} s",
                "see CVAT's export workers, then pull again",
            )
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            progress = float(request.get("progress") or 0.0)
            logger.info(
                "cvat export source=%s status=%s progress=%.2f elapsed_s=%.0f",
                where,
                status,
                progress,
                now - start,
            )
        time.sleep(interval)
