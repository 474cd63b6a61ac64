"""Open issues on CVAT's jobs: what a reviewer would write beside a place that looks wrong."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from segmentor.cvat.frames import Frame
from segmentor.cvat.server import CvatServer

# Boxes that overlap so much are one place.
_SAME = 0.5


@dataclass(frozen=True)
class Remark:
    """A message about a place of a frame; `box` is (top, left, bottom, right), exclusive."""

    frame: Frame
    box: tuple[int, int, int, int]
    message: str


def open_issues(server: CvatServer, remarks: Iterable[Remark]) -> int:
    """Open an issue for each remark; return how many are new.

    A place that has an issue gets no second one, resolved or not: whoever has resolved it has
    looked at it.

    Raises:
        CvatError: the server is away, or refuses.
    """
    known: dict[int, list[dict[str, Any]]] = {}
    opened = 0
    for remark in remarks:
        job = remark.frame.job
        if job not in known:
            known[job] = list(server.items("issues", job_id=job))
        top, left, bottom, right = (float(value) for value in remark.box)
        # Four numbers are a rectangle to CVAT's editor.
        issue = {
            "job": job,
            "frame": remark.frame.index,
            "position": [left, top, right, bottom],
            "message": remark.message,
        }
        if any(_is_same_place(issue, other) for other in known[job]):
            continue
        server.send("POST", "issues", issue)
        known[job].append(issue)
        opened += 1
    return opened


def _is_same_place(issue: dict[str, Any], other: dict[str, Any]) -> bool:
    if issue["frame"] != other["frame"]:
        return False
    left, top, right, bottom = _bounds(issue["position"])
    other_left, other_top, other_right, other_bottom = _bounds(other["position"])
    width = min(right, other_right) - max(left, other_left)
    height = min(bottom, other_bottom) - max(top, other_top)
    common = max(0.0, width) * max(0.0, height)
    areas = (right - left) * (bottom - top) + (other_right - other_left) * (
        other_bottom - other_top
    )
    return common >= _SAME * (areas - common)


def _bounds(position: list[float]) -> tuple[float, float, float, float]:
    columns, rows = position[::2], position[1::2]
    return min(columns), min(rows), max(columns), max(rows)
