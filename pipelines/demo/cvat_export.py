"""Packs scenes as CVAT's "Segmentation mask 1.1" export with images, as CVAT itself writes it.

Source: cvat/apps/dataset_manager/formats/mask.py, and the VOC exporter of datumaro: labels sorted
in code-point order, class masks as RGB PNGs, instances in the VOC palette.
"""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from components.cli import output_file
from pipelines.demo.painting import BACKGROUND, LABELS, ROAD
from pipelines.demo.scenes import Scene
from segmentor.image_io import encode_jpeg, encode_png
from segmentor.label_map import voc_palette

# The colours of the task's labels; CVAT adds background as black when no label has that name.
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "background": (0, 0, 0),
    "car": (0, 0, 142),
    "lane_mark": (255, 255, 255),
    "road": (128, 64, 128),
}
IMAGE_QUALITY = 92
# Equal scenes give an equal zip: an entry's time is that of the first ZIP date.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def write_cvat_export(scenes: Iterable[Scene], path: Path) -> int:
    """Write the zip; return the number of scenes in it.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    palette = np.array([COLOURS[name] for name in LABELS], np.uint8)
    names = []
    with output_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for scene in scenes:
            names.append(scene.name)
            instances = voc_palette()[_instances(scene.mask)]
            _add(archive, f"JPEGImages/{scene.name}.jpg", encode_jpeg(scene.image, IMAGE_QUALITY))
            _add(archive, f"SegmentationClass/{scene.name}.png", encode_png(palette[scene.mask]))
            _add(archive, f"SegmentationObject/{scene.name}.png", encode_png(instances))
        listing = "".join(f"{name}\n" for name in names)
        _add(archive, "ImageSets/Segmentation/default.txt", listing.encode())
        _add(archive, "labelmap.txt", labelmap_text(COLOURS).encode())
    return len(names)


def labelmap_text(colours: Mapping[str, tuple[int, int, int]]) -> str:
    """Return the text of labelmap.txt: names in code-point order, upper case first."""
    lines = [
        f"{name}:{red},{green},{blue}::\n" for name, (red, green, blue) in sorted(colours.items())
    ]
    return "# label:color_rgb:parts:actions\n" + "".join(lines)


def _instances(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Number the shapes of a mask: the road is one, each connected car or mark another."""
    instances = (mask == ROAD).astype(np.int32)
    for index in range(len(LABELS)):
        if index not in (BACKGROUND, ROAD):
            _, parts = cv2.connectedComponents((mask == index).astype(np.uint8))
            instances[parts > 0] = parts[parts > 0] + instances.max()
    # CVAT's object masks have 8 bits, so numbers wrap around at 256.
    return np.asarray(instances, np.uint8)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _NO_TIME), content, zipfile.ZIP_STORED)
