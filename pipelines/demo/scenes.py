"""Synthetic road scenes: images and masks of drives in the country, in town and on a motorway.

A drive fixes what a real one does; its frames differ as frames do (curve, cars, marks). Every scene
depends on its own names alone, so that any of them can be drawn again. The ground is drawn in world
coordinates and seen by a pinhole camera.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.demo import painting
from pipelines.demo.drives import SETTINGS, SIZE, make_drive, make_view, random_for

DRIVES = 6  # of each setting
FRAMES = 4  # of each drive


@dataclass(frozen=True)
class Scene:
    """A drawn image with its mask; `name` is `<setting>_<drive>_<frame>`.

    `image`: RGB uint8 (H, W, 3). `mask`: uint8 (H, W), positions in `painting.LABELS`.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def draw_scenes() -> Iterator[Scene]:
    """Yield every scene, drive by drive."""
    for setting in SETTINGS:
        for drive in range(DRIVES):
            for frame in range(FRAMES):
                yield draw_scene(setting, drive, frame)


def draw_scene(setting: str, drive: int, frame: int) -> Scene:
    """Draw one frame of a drive."""
    facts = make_drive(SETTINGS[setting], random_for(f"{setting} {drive}"))
    random = random_for(f"{setting} {drive} {frame}")
    view = make_view(facts, random)
    canvas = np.empty((*SIZE, 3), np.float32)
    mask = np.full(SIZE, painting.BACKGROUND, np.uint8)
    painting.draw_sky(canvas, facts, view.top, random)
    painting.draw_ground(canvas, mask, facts, view, random)
    painting.draw_cars(canvas, mask, facts, view, random)
    return Scene(f"{setting}_{drive:02d}_{frame:06d}", painting.expose(canvas, facts, random), mask)
