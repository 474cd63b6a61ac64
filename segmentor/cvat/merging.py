"""Put the exports of several jobs together: one annotations.xml and all their images."""

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from segmentor.errors import CvatError

ANNOTATIONS = "annotations.xml"


@dataclass(frozen=True)
class Job:
    """A job that is exported: its id, its task, the task's subset, and when it last changed."""

    id: int
    task: int
    subset: str
    updated: str


@contextlib.contextmanager
def merging(target: Path) -> Iterator["Merged"]:
    """Open an export that is made of those of several jobs; it is whole at the end."""
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive,
        tempfile.TemporaryFile(dir=target.parent) as annotations,
    ):
        yield Merged(archive, annotations)
        annotations.write(b"</annotations>\n")
        annotations.seek(0)
        with archive.open(ANNOTATIONS, "w", force_zip64=True) as entry:
            shutil.copyfileobj(annotations, entry)


class Merged:
    """One export made of those of several jobs."""

    def __init__(self, archive: zipfile.ZipFile, annotations: IO[bytes]) -> None:
        self._archive = archive
        self._annotations = annotations
        self._is_begun = False
        self._jobs: dict[str, int] = {}

    def add(self, part: Path, job: Job) -> None:
        """Append a job's annotations and images.

        Raises:
            CvatError: the export is damaged, or has an image that another job has too.
        """
        try:
            with zipfile.ZipFile(part) as archive:
                self._add_annotations(archive, job)
                self._add_images(archive, job)
        except (zipfile.BadZipFile, KeyError, ElementTree.ParseError) as error:
            raise CvatError(f"job {job.id}", f"a damaged export ({error})") from error

    def _add_annotations(self, archive: zipfile.ZipFile, job: Job) -> None:
        # Read as a stream: it may be large.
        with archive.open(ANNOTATIONS) as stream:
            for _, element in ElementTree.iterparse(stream):
                if element.tag == "meta" and not self._is_begun:
                    self._is_begun = True
                    head = b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n'
                    self._annotations.write(head + ElementTree.tostring(element))
                elif element.tag == "image":
                    element.set("subset", job.subset)
                    element.set("task_id", str(job.task))
                    self._claim(f"{job.subset}/{element.get('name')}", job)
                    self._annotations.write(ElementTree.tostring(element))
                    element.clear()

    def _claim(self, name: str, job: Job) -> None:
        other = self._jobs.setdefault(name, job.id)
        if other != job.id:
            raise CvatError(
                name.strip("/"),
                f"an image of the jobs {other} and {job.id}",
                "a name that one job has",
                "pull the tasks one by one",
            )

    def _add_images(self, archive: zipfile.ZipFile, job: Job) -> None:
        for entry in archive.infolist():
            if entry.is_dir() or not entry.filename.startswith("images/"):
                continue
            inside = entry.filename.removeprefix("images/")
            inside = inside.removeprefix(f"{job.subset}/") if job.subset else inside
            name = "/".join(part for part in ("images", job.subset, inside) if part)
            with archive.open(entry) as source, self._archive.open(name, "w") as target:
                shutil.copyfileobj(source, target)
