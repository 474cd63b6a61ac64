"""A CVAT export that converts and trains in seconds: nine drives of the demo, drawn small."""

from collections.abc import Iterator
from pathlib import Path

import cv2

from pipelines.demo.cvat_export import write_cvat_export
from pipelines.demo.drives import SETTINGS
from pipelines.demo.scenes import Scene, draw_scene
from segmentor.image_io import encode_jpeg

GROUP_PATTERN = r"^(.+)_\d+$"


def small_scenes() -> Iterator[Scene]:
    """Two frames of each of nine drives, 96 x 320."""
    for setting in SETTINGS:
        for drive in range(3):
            for frame in range(2):
                scene = draw_scene(setting, drive, frame)
                yield Scene(
                    scene.name,
                    cv2.resize(scene.image, (320, 96), interpolation=cv2.INTER_AREA),
                    cv2.resize(scene.mask, (320, 96), interpolation=cv2.INTER_NEAREST),
                )


def write_small_export(path: Path) -> Path:
    """Write the zip and return its path."""
    write_cvat_export(small_scenes(), path)
    return path


def photograph() -> bytes:
    """Return a JPEG that is not in the export: a frame of a tenth drive, at full size."""
    return encode_jpeg(draw_scene("country", 5, 0).image)
