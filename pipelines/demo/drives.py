"""The fixed properties of a drive (road, light, weather, camera), and its view of the ground."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = (375, 1242)  # (height, width), that of the KITTI road benchmark
FOCAL = 720.0  # pixels
CAMERA_HEIGHT = 1.65
LANE_WIDTH = 3.4


@dataclass(frozen=True)
class Setting:
    """A kind of place: lanes, sharpest curve (1 / metres), and RGB of ground and of its edge."""

    lanes: tuple[int, int]
    curvature: float
    ground: tuple[int, int, int]
    edge: tuple[int, int, int]
    cars: int
    houses: bool


SETTINGS = {
    "country": Setting((2, 2), 0.006, (92, 118, 58), (128, 112, 84), 2, False),
    "town": Setting((2, 3), 0.004, (116, 112, 104), (150, 146, 140), 4, True),
    "motorway": Setting((3, 4), 0.0015, (104, 122, 74), (120, 120, 112), 5, False),
}


@dataclass(frozen=True)
class Drive:
    """The facts of one drive; colours are RGB, lengths metres, `horizon` and `centre` pixels."""

    setting: Setting
    lanes: int
    asphalt: NDArray[np.float32]
    ground: NDArray[np.float32]
    sky: NDArray[np.float32]
    light: NDArray[np.float32]
    haze: float
    horizon: float
    centre: float
    offset: float
    edge_line: bool


@dataclass(frozen=True)
class View:
    """World coordinates of the ground pixels of a frame: metres ahead, and right of the middle."""

    top: int
    ahead: NDArray[np.float32]
    across: NDArray[np.float32]
    heading: float
    curvature: float


def random_for(name: str) -> np.random.Generator:
    """Return the random numbers of a name: the same ones every time, on every machine."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def make_drive(setting: Setting, random: np.random.Generator) -> Drive:
    """Choose the facts of a drive."""
    grey = random.uniform(70, 125)
    warmth = random.uniform(-0.12, 0.12)
    brightness = random.uniform(0.5, 1.15)
    return Drive(
        setting=setting,
        lanes=int(random.integers(setting.lanes[0], setting.lanes[1] + 1)),
        asphalt=np.asarray(grey + random.uniform(-6, 6, 3), np.float32),
        ground=np.asarray(setting.ground + random.uniform(-22, 22, 3), np.float32),
        sky=np.asarray([150, 180, 215] + random.uniform(-40, 35, 3), np.float32),
        light=np.asarray(brightness * np.array([1 + warmth, 1, 1 - warmth]), np.float32),
        haze=float(random.uniform(0, 0.015)),
        horizon=float(random.uniform(155, 190)),
        centre=SIZE[1] / 2 + float(random.uniform(-60, 60)),
        offset=float(random.uniform(-0.5, 0.5)),
        edge_line=bool(random.random() < 0.7),
    )


def make_view(drive: Drive, random: np.random.Generator) -> View:
    """Choose heading and curve of a frame, and project the ground."""
    top = int(drive.horizon) + 5
    rows = np.arange(top, SIZE[0], dtype=np.float32)[:, None] - drive.horizon  # (h, 1)
    columns = np.arange(SIZE[1], dtype=np.float32)[None, :] - drive.centre  # (1, W)
    ahead = FOCAL * CAMERA_HEIGHT / rows
    # The camera drives in the right lane, so the middle of the road lies to its left.
    offset = -LANE_WIDTH * (drive.lanes - 1) / 2 + drive.offset
    heading = float(random.uniform(-0.03, 0.03))
    curvature = float(random.uniform(-1, 1)) * drive.setting.curvature
    middle = offset + heading * ahead + 0.5 * curvature * ahead**2  # (h, 1)
    across = columns / FOCAL * ahead - middle  # (h, W)
    return View(top, np.broadcast_to(ahead, across.shape), across, heading, curvature)
