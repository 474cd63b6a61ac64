"""Writes video exports as CVAT does: tasks, their tracks, and images of their frames."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segmentor.dataset import Dataset
from tests.components.convert_labels.label_builders import encoded, write_zip
from tests.components.convert_labels.step_runs import masks_of

SIZE = (24, 32)
LABELS = "".join(
    f"<label><name>{name}</name><color>{colour}</color></label>"
    for name, colour in (("car", "#00008e"), ("road", "#804080"))
)
BOXES = {"car": (1, 1, 5, 5), "road": (10, 10, 20, 20)}


@dataclass
class VideoTask:
    """A task of a project, as CVAT tells of it; `boxes` are (frame, label)."""

    id: str = ""
    subset: str = ""
    boxes: list[tuple[int, str]] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = SIZE

    def meta(self) -> str:
        facts = {"id": self.id or "7", "mode": "interpolation", "subset": self.subset, **self.facts}
        text = "".join(f"<{name}>{value}</{name}>" for name, value in facts.items())
        if self.size:
            height, width = self.size
            original = f"<width>{width}</width><height>{height}</height>"
            text += f"<original_size>{original}</original_size>"
        return text

    def tracks(self) -> str:
        named = f'task_id="{self.id}" subset="{self.subset or "default"}"' if self.id else ""
        return "".join(
            f'<track id="{n}" label="{label}" source="manual" {named}>{box(frame, label)}</track>'
            for n, (frame, label) in enumerate(self.boxes)
        )


def box(frame: int, label: str) -> str:
    names = zip(("xtl", "ytl", "xbr", "ybr"), BOXES[label], strict=True)
    corners = " ".join(f'{name}="{value:.2f}"' for name, value in names)
    return f'<box frame="{frame}" keyframe="1" outside="0" {corners} z_order="0"></box>'


def task_export(path: Path, task: VideoTask, images: list[str]) -> Path:
    meta = f"<task>{task.meta()}<labels>{LABELS}</labels></task>"
    return export(path, meta, task.tracks(), images)


def project_export(path: Path, tasks: list[VideoTask], images: list[str]) -> Path:
    inner = "".join(f"<task>{task.meta()}</task>" for task in tasks)
    meta = f"<project><id>1</id><tasks>{inner}</tasks><labels>{LABELS}</labels></project>"
    return export(path, meta, "".join(task.tracks() for task in tasks), images)


def export(path: Path, meta: str, tracks: str, images: list[str]) -> Path:
    xml = f"<annotations><version>1.1</version><meta>{meta}</meta>{tracks}</annotations>"
    files: dict[str, bytes | str] = {"annotations.xml": xml}
    files |= {f"images/{name}": encoded(SIZE, name, n) for n, name in enumerate(images)}
    return write_zip(path, files)


def labels_of(dataset: Dataset) -> dict[str, list[str]]:
    names = dataset.label_map.names
    return {
        name: [names[index] for index in np.unique(mask) if index]
        for name, mask in masks_of(dataset).items()
    }
