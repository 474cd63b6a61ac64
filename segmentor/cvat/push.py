"""Send predictions to a task or job of CVAT as mask shapes that annotators correct."""

import logging
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from segmentor.cvat.address import CvatUri
from segmentor.cvat.frames import AUTOMATIC, frame_names, human_frames
from segmentor.cvat.server import CvatServer
from segmentor.cvat.shapes import (
    LEAST_PIXELS,
    MOST_SHAPES,
    components_of,
    labelled_classes,
    shape_of,
)
from segmentor.errors import CvatError, ImageError
from segmentor.label_map import LabelMap
from segmentor.model import Model

logger = logging.getLogger(__name__)

# Types of label that take masks.
_MASK_TYPES = ("any", "mask")


@dataclass(frozen=True)
class PushedFrame:
    """What became of a frame.

    Attributes:
        index: Its index in the task.
        name: Name of its image.
        outcome: "sent", "unchanged", "labelled" (by a person: left alone) or "unreadable".
        shapes: Shapes that the frame now has of this model.
        reason: Why an image is unreadable.
    """

    index: int
    name: str
    outcome: str
    shapes: int = 0
    reason: str = ""


def push(
    server: CvatServer,
    uri: CvatUri,
    model: Model,
    least_pixels: int = LEAST_PIXELS,
    most_shapes: int = MOST_SHAPES,
    all_frames: bool = False,
    only: Container[int] | None = None,
) -> Iterator[PushedFrame]:
    """Predict the frames of a task or job and send the masks; yields as it goes.

    Frames with labels of a person are left alone, and no shape of a person is ever changed.
    Automatic shapes of the model's labels are replaced where the prediction differs, so pushing
    again sends nothing twice, and goes on where an interrupted push ended.

    Args:
        server: The session.
        uri: A task or a job.
        model: Its classes are matched with CVAT's labels by name.
        least_pixels: Smaller components are not sent.
        most_shapes: The largest components of a frame are sent, up to this many.
        all_frames: Also predict frames that have labels of a person.
        only: Indices of the frames to predict; None takes all.

    Raises:
        CvatError: the server is away or refuses; a class has no label, or one of another type.
    """
    if uri.kind == "projects":
        raise CvatError(str(uri), "a project", "a task or a job", "push to its tasks one by one")
    server.version()
    target = server.get(f"{uri.kind}/{uri.number}")
    task = uri.number if uri.kind == "tasks" else int(target["task_id"])
    path = f"{uri.kind}/{uri.number}/annotations"
    labels = match_labels(server, uri, model.label_map)
    first = int(target["start_frame"]) if uri.kind == "jobs" else 0
    names = frame_names(server, uri.kind, uri.number, first)
    existing = server.get(path)
    by_frame, human = _automatic_shapes(existing, set(labels.values())), human_frames(existing)
    for index, name in names.items():
        if only is not None and index not in only:
            continue
        if index in human and not all_frames:
            yield PushedFrame(index, name, "labelled")
            continue
        try:
            prediction = model.predict(server.image(task, index))
        except ImageError as error:
            reason = f"{name}: {error.found}"
            yield PushedFrame(index, name, "unreadable", reason=reason)
            continue
        components = components_of(
            prediction.mask, prediction.confidence, tuple(labels), least_pixels, most_shapes
        )
        wanted = [shape_of(component, index, labels) for component in components]
        present = by_frame.get(index, [])
        changed = _replace(server, path, present, wanted)
        yield PushedFrame(index, name, "sent" if changed else "unchanged", shapes=len(wanted))


def match_labels(server: CvatServer, uri: CvatUri, label_map: LabelMap) -> dict[int, int]:
    """Match classes with the labels of a task or job by name.

    The background needs no label: it is what no shape covers.

    Returns:
        The id of the label of each class index.

    Raises:
        CvatError: a class has no label, or one of a type that takes no masks.
    """
    owner = {f"{uri.noun}_id": uri.number}
    labels = {str(label["name"]): label for label in server.items("labels", **owner)}
    matched, problems = {}, []
    for index in labelled_classes(label_map):
        name = label_map.names[index]
        label = labels.get(name)
        if label is None:
            problems.append(f"'{name}' is missing")
        elif str(label.get("type") or "any") not in _MASK_TYPES:
            problems.append(f"'{name}' is a label for {label['type']} shapes")
        else:
            matched[index] = int(label["id"])
    if problems:
        raise CvatError(
            str(uri),
            f"labels {', '.join(labels) or 'of no name'}: {'; '.join(problems)}",
            "a label of type 'any' or 'mask' for each class of the model",
            "add or change the labels in CVAT",
        )
    return matched


def _automatic_shapes(
    existing: Mapping[str, Any], labels: set[int]
) -> dict[int, list[dict[str, Any]]]:
    """Return the automatic shapes of our labels by frame."""
    automatic: dict[int, list[dict[str, Any]]] = {}
    for shape in existing.get("shapes", ()):
        is_ours = int(shape["label_id"]) in labels and shape["type"] == "mask"
        if is_ours and shape.get("source") == AUTOMATIC:
            automatic.setdefault(int(shape["frame"]), []).append(shape)
    return automatic


def _replace(
    server: CvatServer,
    path: str,
    present: list[dict[str, Any]],
    wanted: list[dict[str, object]],
) -> bool:
    """Make the automatic shapes of a frame those that are wanted; return True if any differed."""
    kept = {_key(shape): shape for shape in present}
    missing = [shape for shape in wanted if _key(shape) not in kept]
    wanted_keys = {_key(shape) for shape in wanted}
    surplus, seen = [], set()
    for shape in present:
        key = _key(shape)
        if key not in wanted_keys or key in seen:
            surplus.append(shape)
        seen.add(key)
    # First what is new: whoever interrupts leaves too many shapes, which the next push removes.
    if missing:
        server.send("PATCH", path, _patch(missing), action="create")
    if surplus:
        server.send("PATCH", path, _patch(surplus), action="delete")
    return bool(missing or surplus)


def _key(shape: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
    return int(shape["label_id"]), tuple(int(number) for number in shape["points"])


def _patch(shapes: list[Any]) -> dict[str, Any]:
    return {"version": 0, "tags": [], "shapes": shapes, "tracks": []}
