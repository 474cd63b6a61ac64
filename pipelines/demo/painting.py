"""Paints a scene on a canvas, RGB float32 (H, W, 3), and its mask: sky, ground, cars, exposure."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.demo.drives import CAMERA_HEIGHT, FOCAL, LANE_WIDTH, SIZE, Drive, View

FARTHEST = 110.0  # metres; road beyond it is not told from the horizon

BACKGROUND, CAR, LANE_MARK, ROAD = range(4)
LABELS = ("background", "car", "lane_mark", "road")


def draw_sky(
    canvas: NDArray[np.float32], drive: Drive, top: int, random: np.random.Generator
) -> None:
    """Paint the sky, two ridges at the horizon, and houses in town."""
    fade = np.linspace(0, 1, top, dtype=np.float32)[:, None, None]
    canvas[:top] = drive.sky * (1 - fade) + (0.5 * drive.sky + 115) * fade
    columns = np.arange(SIZE[1])
    # Two ridges of trees or hills: sums of slow waves, the nearer one darker.
    for nearness in (0.5, 1.0):
        waves = sum(
            random.uniform(2, 12) * np.sin(columns * random.uniform(0.003, 0.06) + phase)
            for phase in random.uniform(0, 6, 5)
        )
        ridge = (top - np.clip(14 + nearness * 10 + waves, 2, None)).astype(int)
        hill = np.arange(top)[:, None] >= ridge[None]
        shade = drive.ground * (1.05 - 0.5 * nearness) + 60 * (1 - nearness)
        canvas[:top][hill] = shade + random.normal(0, 5, (int(hill.sum()), 1))
    if drive.setting.houses:
        _draw_houses(canvas, top, random)


def _draw_houses(canvas: NDArray[np.float32], top: int, random: np.random.Generator) -> None:
    for _ in range(14):
        side = random.choice([-1, 1])
        distance = random.uniform(0.12, 0.55)
        x = int(SIZE[1] / 2 + side * distance * SIZE[1])
        half, tall = int(30 + 90 * distance), int(30 + 330 * distance * random.uniform(0.6, 1))
        wall = random.uniform(80, 180) + random.uniform(-25, 25, 3)
        cv2.rectangle(canvas, (x - half, top - tall), (x + half, top), wall.tolist(), -1)
        for y in range(top - tall + 8, top - 8, 22):
            for left in range(x - half + 6, x + half - 8, 18):
                cv2.rectangle(canvas, (left, y), (left + 8, y + 11), (wall * 0.5).tolist(), -1)


def draw_ground(
    canvas: NDArray[np.float32],
    mask: NDArray[np.uint8],
    drive: Drive,
    view: View,
    random: np.random.Generator,
) -> None:
    """Paint ground, edge, road and marks, with a texture that is fixed to the ground."""
    ahead, across = view.ahead, view.across
    half = LANE_WIDTH * drive.lanes / 2
    side = np.abs(across)
    road = (side < half + 0.25) & (ahead < FARTHEST)
    edge = (side < half + 0.25 + 1.6) & ~road
    colour = np.where(edge[..., None], np.asarray(drive.setting.edge, np.float32), drive.ground)
    colour = np.where(road[..., None], drive.asphalt, colour)
    marks = _lane_marks(drive, view, half, float(random.uniform(0, 12))) & road
    colour = np.where(marks[..., None], np.asarray((222, 222, 210), np.float32), colour)
    texture = _texture(ahead, across, random)
    rough = np.where(road, 0.07, np.where(edge, 0.12, 0.3)).astype(np.float32)
    colour = colour * (1 + rough * texture)[..., None]
    if random.random() < 0.5:
        colour *= _tree_shadows(ahead, across, random)[..., None]
    canvas[view.top :] = colour
    ground_mask = mask[view.top :]
    ground_mask[road] = ROAD
    ground_mask[marks] = LANE_MARK


def _lane_marks(drive: Drive, view: View, half: float, phase: float) -> NDArray[np.bool_]:
    marks = np.zeros(view.across.shape, bool)
    dashes = np.mod(view.ahead + phase, 12) < 5
    for lane in range(1, drive.lanes):
        marks |= (np.abs(view.across + half - lane * LANE_WIDTH) < 0.09) & dashes
    if drive.edge_line:
        marks |= np.abs(np.abs(view.across) - half) < 0.08
    return marks


def _texture(
    ahead: NDArray[np.float32], across: NDArray[np.float32], random: np.random.Generator
) -> NDArray[np.float32]:
    """Return noise of two scales, about -1..1, looked up at the ground's coordinates."""
    noise = random.normal(0, 0.6, (256, 256)).astype(np.float32)
    coarse = cv2.GaussianBlur(noise, (0, 0), 5) * 8
    x, y = (across * 12).astype(np.int32) % 256, (ahead * 6).astype(np.int32) % 256
    slow_x, slow_y = (across * 4).astype(np.int32) % 256, (ahead * 2).astype(np.int32) % 256
    return 0.5 * noise[y, x] + 0.5 * coarse[slow_y, slow_x]


def _tree_shadows(
    ahead: NDArray[np.float32], across: NDArray[np.float32], random: np.random.Generator
) -> NDArray[np.float32]:
    factor = np.ones(ahead.shape, np.float32)
    for _ in range(int(random.integers(2, 6))):
        distance, side = random.uniform(5, 45), random.uniform(-6, 6)
        squared = ((ahead - distance) / random.uniform(1, 3)) ** 2
        squared = squared + ((across - side) / random.uniform(2, 5)) ** 2
        factor = np.where(squared < 1, np.float32(random.uniform(0.5, 0.7)), factor)
    return np.asarray(cv2.GaussianBlur(factor, (0, 0), 2), np.float32)


def draw_cars(
    canvas: NDArray[np.float32],
    mask: NDArray[np.uint8],
    drive: Drive,
    view: View,
    random: np.random.Generator,
) -> None:
    """Paint cars, the farthest first, on the lanes or parked beside the road."""
    count = int(random.integers(0, drive.setting.cars + 1))
    half = LANE_WIDTH * drive.lanes / 2
    middle = -LANE_WIDTH * (drive.lanes - 1) / 2 + drive.offset
    for distance in sorted(random.uniform(9, 60, count), reverse=True):
        side = (int(random.integers(drive.lanes)) + 0.5) * LANE_WIDTH - half
        if drive.setting.houses and random.random() < 0.4:
            side = (half + 1.4) * random.choice([-1, 1])  # parked
        x = middle + view.heading * distance + 0.5 * view.curvature * distance**2 + side
        scale = FOCAL / distance
        column = int(drive.centre + x * scale)
        row = int(drive.horizon + CAMERA_HEIGHT * scale)
        _draw_car(canvas, mask, (row, column), scale, random)


def _draw_car(
    canvas: NDArray[np.float32],
    mask: NDArray[np.uint8],
    foot: tuple[int, int],
    scale: float,
    random: np.random.Generator,
) -> None:
    """Draw a car from behind, standing at `foot`; `scale` is pixels a metre."""
    row, column = foot
    half, tall = int(0.9 * scale), int(1.45 * scale)
    paint = random.uniform(15, 235, 3) * random.uniform(0.5, 1)
    body_top = row - int(0.85 * scale)
    roof = [
        (column - half, body_top),
        (column - int(0.75 * half), row - tall),
        (column + int(0.75 * half), row - tall),
        (column + half, body_top),
    ]
    inner = [(int(column + 0.86 * (x - column)), int(y + 0.06 * scale)) for x, y in roof]
    cv2.ellipse(canvas, (column, row), (int(half * 1.1), max(2, int(scale * 0.13))), 0, 0, 360,
                (32, 32, 34), -1)  # fmt: skip
    for target, colour in ((canvas, paint.tolist()), (mask, CAR)):
        cv2.rectangle(target, (column - half, body_top), (column + half, row - 2), colour, -1)
        cv2.fillPoly(target, [np.asarray(roof, np.int32)], colour)
    cv2.fillPoly(canvas, [np.asarray(inner, np.int32)], (58, 66, 76))
    lamp = max(1, int(0.13 * scale))
    for x in (column - half + lamp, column + half - lamp):
        cv2.circle(canvas, (x, body_top + lamp), lamp, (190, 30, 30), -1)


def expose(
    canvas: NDArray[np.float32], drive: Drive, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Add haze by distance, then light, blur and noise of a camera."""
    rows = np.arange(SIZE[0], dtype=np.float32) - drive.horizon
    distance = np.where(rows > 5, FOCAL * CAMERA_HEIGHT / np.maximum(rows, 5), FARTHEST)
    clear = np.exp(-drive.haze * distance).astype(np.float32)[:, None, None]
    exposure = np.float32(random.uniform(0.9, 1.1))
    picture = (canvas * clear + (0.5 * drive.sky + 115) * (1 - clear)) * drive.light * exposure
    blurred = cv2.GaussianBlur(picture, (0, 0), float(random.uniform(0.5, 0.9)))
    picture = np.asarray(blurred, np.float32)
    picture += random.standard_normal(SIZE, np.float32)[..., None] * random.uniform(1, 5)
    return np.asarray(np.clip(picture, 0, 255), np.uint8)
