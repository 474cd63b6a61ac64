"""Draws the synthetic task that benchmarks/convert_labels.py converts."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from segmentor.image_io import encode_png

LABELS = {f"class_{n:02d}": (20 * n + 10, 255 - 20 * n, (70 * n) % 256) for n in range(10)}
SIZE = (720, 1280)
SHAPES = 40


def draw(folder: Path, count: int) -> tuple[Path, Path]:
    """Write the task as an XML export and as a mask export; return both folders.

    `index/` of the second has the index masks as arrays, so that encoding them costs the same.
    """
    xml_folder, mask_folder = folder / "xml", folder / "masks"
    (xml_folder / "images").mkdir(parents=True)
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "index"):
        (mask_folder / name).mkdir(parents=True)
    labels = "".join(
        f"<label><name>{name}</name><color>#{bytes(colour).hex()}</color></label>"
        for name, colour in LABELS.items()
    )
    parts = [f"<annotations><meta><task><labels>{labels}</labels></task></meta>"]
    stems = [f"frame_{number:06d}" for number in range(count)]
    for number, stem in enumerate(stems):
        image, index, shapes = scene(number)
        for target in (xml_folder / "images", mask_folder / "JPEGImages"):
            (target / f"{stem}.jpg").write_bytes(image)
        colours = np.array([(0, 0, 0), *LABELS.values()], np.uint8)[index]
        (mask_folder / "SegmentationClass" / f"{stem}.png").write_bytes(encode_png(colours, 6))
        np.save(mask_folder / "index" / f"{stem}.npy", index)
        attributes = f'id="{number}" name="{stem}.jpg" width="{SIZE[1]}" height="{SIZE[0]}"'
        parts.append(f"<image {attributes}>{shapes}</image>")
    (xml_folder / "annotations.xml").write_text("\n".join(parts) + "</annotations>")
    lines = ["background:0,0,0::", *(f"{n}:{','.join(map(str, c))}::" for n, c in LABELS.items())]
    (mask_folder / "labelmap.txt").write_text("\n".join(lines))
    (mask_folder / "ImageSets" / "Segmentation" / "default.txt").write_text("\n".join(stems))
    return xml_folder, mask_folder


def scene(seed: int) -> tuple[bytes, np.ndarray, str]:
    """Return a JPEG that weighs what a photograph does, its index mask, and its polygons."""
    random = np.random.default_rng(seed)
    height, width = SIZE
    index = np.zeros(SIZE, np.uint8)
    elements = []
    for z_order in range(SHAPES):
        label = int(random.integers(len(LABELS)))
        angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(8, 40))))
        radius = random.uniform(0.02, 0.15) * height * random.uniform(0.7, 1.3, len(angles))
        x = np.clip(random.uniform(0, width) + radius * np.cos(angles), 0, width)
        y = np.clip(random.uniform(0, height) + radius * np.sin(angles), 0, height)
        points = ";".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y, strict=True))
        name = list(LABELS)[label]
        elements.append(f'<polygon label="{name}" points="{points}" z_order="{z_order}"/>')
        cv2.fillPoly(index, [np.stack([x, y], axis=1).round().astype(np.int32)], label + 1)
    coarse = random.integers(0, 256, (18, 32, 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
    pixels += random.integers(-12, 13, pixels.shape, dtype=np.int16)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), index, "".join(elements)
