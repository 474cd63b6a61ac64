"""Masks: uint8 (H, W), each pixel a class index or ignore_index; checks and rendering."""

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.errors import MaskError
from segmentor.label_map import LabelMap

# Up to this many classes, one pass per class is faster than a histogram.
FEW_CLASSES = 24


# Mean brightness below which a photograph is too dark to be drawn over.
READABLE = 0.4


def count_classes(mask: NDArray[np.uint8], label_map: LabelMap, where: str) -> list[int]:
    """Count the pixels of each class, in the order of the label map; ignored pixels are left out.

    Raises:
        MaskError: a pixel holds neither a class index nor ignore_index; the first is named.
    """
    classes = len(label_map)
    if classes <= FEW_CLASSES:
        few = [int(np.count_nonzero(mask == index)) for index in range(classes)]
        if sum(few) + np.count_nonzero(mask == label_map.ignore_index) == mask.size:
            return few
    # OpenCV counts in float32, exact up to 2^24: so at most that many pixels at once.
    rows = max(1, (1 << 24) // max(1, mask.shape[1]))
    counts = sum(
        cv2.calcHist([mask[top : top + rows]], [0], None, [256], [0, 256]).astype(np.int64)
        for top in range(0, mask.shape[0], rows)
    )
    counts = np.ravel(counts)
    stray = [int(v) for v in np.flatnonzero(counts) if v >= classes and v != label_map.ignore_index]
    if stray:
        y, x = (int(v) for v in np.argwhere(mask == stray[0])[0])
        raise MaskError(
            where,
            f"class index {stray[0]} at (y={y}, x={x})",
            f"0..{classes - 1} or ignore_index {label_map.ignore_index}",
            "rerun convert_labels or extend the label map",
        )
    return [int(v) for v in counts[:classes]]


def resize_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize by nearest neighbour (pixel centres), so that no class is invented."""
    height, width = size
    resized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, np.uint8)


def colour_mask(mask: NDArray[np.uint8], label_map: LabelMap) -> NDArray[np.uint8]:
    """Render a mask with the colours of the label map: RGB uint8 (H, W, 3), for eyes only."""
    return label_map.palette()[mask]


def overlay_legend(label_map: LabelMap) -> list[tuple[str, tuple[int, int, int]]]:
    """Return what each colour of an overlay stands for; classes of one colour stand together."""
    classes = label_map.classes[1:] if label_map.has_background else label_map.classes
    names: dict[tuple[int, int, int], list[str]] = {}
    for label in classes:
        names.setdefault(label.colour, []).append(label.name)
    red, green, blue = label_map.palette()[label_map.ignore_index].tolist()
    names.setdefault((red, green, blue), []).append("ignore")
    legend = [
        (f"{', '.join(group)}{' (of one colour)' if len(group) > 1 else ''}", colour)
        for colour, group in names.items()
    ]
    if label_map.has_background:
        first = label_map.classes[0]
        legend.insert(0, (f"{first.name} (not drawn)", first.colour))
    return legend


def brightened(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lift a dark photograph for eyes, so that what is drawn over it can be read; RGB uint8."""
    mean = float(image.mean()) / 255
    if not 0 < mean < READABLE:
        return image
    exponent = max(0.4, np.log(READABLE) / np.log(mean))
    table = ((np.arange(256) / 255) ** exponent * 255).round().astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8)


def overlay(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], label_map: LabelMap, opacity: float = 0.5
) -> NDArray[np.uint8]:
    """Blend the colour mask over an image of the same size; background stays as it is.

    Returns RGB uint8 (H, W, 3). Class edges are drawn solid, so that thin classes stay visible.
    """
    colours = colour_mask(mask, label_map)
    blended = cv2.addWeighted(image, 1 - opacity, colours, opacity, 0)
    shown = (mask != 0).astype(np.uint8) if label_map.has_background else np.ones_like(mask)
    edges = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    result = cv2.copyTo(blended, shown, image.copy())
    return np.asarray(cv2.copyTo(colours, edges * shown, result), np.uint8)
