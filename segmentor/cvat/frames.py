"""The frames of a project, task or job: their names, their jobs, and who has labelled them."""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from segmentor.cvat.address import CvatUri
from segmentor.cvat.pull import selected_jobs
from segmentor.cvat.server import CvatServer
from segmentor.image_io import EXTENSIONS

# What CVAT calls a shape that a program made and nobody has touched.
AUTOMATIC = "auto"


@dataclass(frozen=True)
class Frame:
    """A frame of a job.

    Attributes:
        job: Id of its job.
        task: Id of the job's task.
        index: Its index in the task.
        name: Name of its image.
        subset: The task's subset, or nothing.
        is_labelled: A person has drawn something here, or has completed the job.
    """

    job: int
    task: int
    index: int
    name: str
    subset: str
    is_labelled: bool

    def page(self, server: CvatServer) -> str:
        """Return the address of CVAT's editor at this frame."""
        return f"{server.url}/tasks/{self.task}/jobs/{self.job}?frame={self.index}"


def frames_of(server: CvatServer, uri: CvatUri) -> list[Frame]:
    """Return the frames of all jobs that pass an address's filters; deleted ones are left out.

    Raises:
        CvatError: the server is away, or refuses.
    """
    frames = []
    for job, subset in selected_jobs(server, uri):
        number, task = int(job["id"]), int(job["task_id"])
        human = human_frames(server.get(f"jobs/{number}/annotations"))
        names = frame_names(server, "jobs", number, int(job["start_frame"]))
        is_done = job["state"] == "completed"
        frames += [
            Frame(number, task, index, name, subset, is_done or index in human)
            for index, name in names.items()
        ]
    return frames


def frame_names(server: CvatServer, kind: str, number: int, first: int) -> dict[int, str]:
    """Return the names of the frames of a task or job by index; deleted ones are left out.

    Args:
        server: The session.
        kind: tasks or jobs.
        number: The id.
        first: Index of its first frame.
    """
    meta = server.get(f"{kind}/{number}/data/meta")
    listed = meta["frames"] or []
    indices = meta.get("included_frames") or range(first, first + len(listed))
    deleted = set(meta.get("deleted_frames") or ())
    return {
        int(index): str(frame["name"])
        for index, frame in zip(indices, listed, strict=True)
        if index not in deleted
    }


def human_frames(annotations: Mapping[str, Any]) -> set[int]:
    """Return the indices of the frames in which a person has drawn or tagged something."""
    human = {int(tag["frame"]) for tag in annotations.get("tags", ())}
    for track in annotations.get("tracks", ()):
        shown = [shape for shape in track["shapes"] if not shape["outside"]]
        hidden = [int(shape["frame"]) for shape in track["shapes"] if shape["outside"]]
        if shown:
            start = min(int(shape["frame"]) for shape in shown)
            # A track goes on after its last shape until it leaves the picture.
            last = max([*(int(shape["frame"]) for shape in shown), *hidden])
            human.update(range(start, last + 1))
    human.update(
        int(shape["frame"])
        for shape in annotations.get("shapes", ())
        if shape.get("source") != AUTOMATIC
    )
    return human


def frames_by_sample(frames: Iterable[Frame]) -> dict[str, Frame]:
    """Return the frames by the ids that samples of a data set have for them.

    An id is the image's name without its extension, below its subset where there are several, and
    with its extension where two differ in nothing else. An id that two frames could have is left
    out.
    """
    found: dict[str, Frame] = {}
    ambiguous = set()
    for frame in frames:
        plain, extension = posixpath.splitext(frame.name)
        names = {frame.name, plain if extension.lower() in EXTENSIONS else frame.name}
        for name in names | {f"{frame.subset}/{name}" for name in names if frame.subset}:
            if found.setdefault(name, frame) != frame:
                ambiguous.add(name)
    return {name: frame for name, frame in found.items() if name not in ambiguous}
