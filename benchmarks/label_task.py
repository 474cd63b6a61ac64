"""Draws what benchmarks/convert_labels.py measures on: synthetic tasks, exports, sample lists."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from segmentor.dataset import Sample
from segmentor.digests import canonical_json
from segmentor.image_io import decode_image, encode_png
from segmentor.label_map import LabelMap

LABELS = {f"class_{n:02d}": (20 * n + 10, 255 - 20 * n, (70 * n) % 256) for n in range(10)}
SIZE = (720, 1280)
SHAPES = 40


def draw(folder: Path, count: int, size: tuple[int, int]) -> tuple[Path, Path]:
    """Writes the task as an XML export and as a mask export; returns both folders."""
    xml_folder, mask_folder = folder / "xml", folder / "masks"
    (xml_folder / "images").mkdir(parents=True)
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (mask_folder / name).mkdir(parents=True)
    labels = "".join(
        f"<label><name>{name}</name><color>#{bytes(colour).hex()}</color></label>"
        for name, colour in LABELS.items()
    )
    parts = [f"<annotations><meta><task><labels>{labels}</labels></task></meta>"]
    for number in range(count):
        stem = f"frame_{number:06d}"
        image, mask, shapes = scene(number, size)
        for target in (xml_folder / "images", mask_folder / "JPEGImages"):
            (target / f"{stem}.jpg").write_bytes(image)
        (mask_folder / "SegmentationClass" / f"{stem}.png").write_bytes(mask)
        attributes = f'id="{number}" name="{stem}.jpg" width="{size[1]}" height="{size[0]}"'
        parts.append(f"<image {attributes}>{shapes}</image>")
    (xml_folder / "annotations.xml").write_text("\n".join(parts) + "</annotations>")
    lines = ["background:0,0,0::", *(f"{n}:{','.join(map(str, c))}::" for n, c in LABELS.items())]
    (mask_folder / "labelmap.txt").write_text("\n".join(lines))
    stems = "".join(f"frame_{number:06d}\n" for number in range(count))
    (mask_folder / "ImageSets" / "Segmentation" / "default.txt").write_text(stems)
    return xml_folder, mask_folder


def photograph(seed: int, size: tuple[int, int]) -> bytes:
    """Returns a JPEG that weighs what a photograph does."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (18, 32, 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
    pixels += random.integers(-12, 13, pixels.shape, dtype=np.int16)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def scene(seed: int, size: tuple[int, int]) -> tuple[bytes, bytes, str]:
    """Returns a JPEG that weighs what a photograph does, its colour mask, and its polygons."""
    random = np.random.default_rng(seed)
    height, width = size
    mask = np.zeros((height, width, 3), np.uint8)
    elements = []
    for z_order in range(SHAPES):
        name = list(LABELS)[int(random.integers(len(LABELS)))]
        angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(8, 40))))
        radius = random.uniform(0.02, 0.15) * height * random.uniform(0.7, 1.3, len(angles))
        x = np.clip(random.uniform(0, width) + radius * np.cos(angles), 0, width)
        y = np.clip(random.uniform(0, height) + radius * np.sin(angles), 0, height)
        points = ";".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y, strict=True))
        elements.append(f'<polygon label="{name}" points="{points}" z_order="{z_order}"/>')
        polygon = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.fillPoly(mask, [polygon], LABELS[name])
    return photograph(seed, size), encode_png(mask, 6), "".join(elements)


def save_index_masks(mask_folder: Path) -> None:
    """Keeps the index masks as plain arrays, so that the limit encodes the real content."""
    (mask_folder / "index").mkdir()
    for path in (mask_folder / "SegmentationClass").iterdir():
        red = decode_image(path.read_bytes())[:, :, 0]
        index = np.unique(red, return_inverse=True)[1].astype(np.uint8).reshape(red.shape)
        np.save(mask_folder / "index" / f"{path.stem}.npy", index)


def boxes_as_xml(count: int) -> tuple[str, str]:
    """Returns the name and text of an annotations file with a box on each image."""
    # One shape an image: what grows with the count of images does not depend on it.
    shapes = '<box label="class_00" xtl="3" ytl="3" xbr="90" ybr="60"/>'
    labels = "".join(f"<label><name>{name}</name></label>" for name in LABELS)
    images = "".join(
        f'<image name="frame_{number:06d}.jpg" width="160" height="120">{shapes}</image>'
        for number in range(count)
    )
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return "annotations.xml", f"<annotations>{meta}{images}</annotations>"


def boxes_as_coco(count: int) -> tuple[str, str]:
    """Returns the same as COCO."""
    points = [3, 3, 90, 3, 90, 60, 3, 60]
    content = {
        "categories": [{"id": number, "name": name} for number, name in enumerate(LABELS, 1)],
        "images": [
            {"id": number, "file_name": f"frame_{number:06d}.jpg", "width": 160, "height": 120}
            for number in range(count)
        ],
        "annotations": [
            {"image_id": number, "category_id": 1, "segmentation": [points], "bbox": [3, 3, 87, 57]}
            for number in range(count)
        ],
    }
    return "annotations/instances_default.json", json.dumps(content)


def simulated_dataset(folder: Path, count: int) -> Path:
    """Writes a data set of so many samples without their files, each its own group."""
    dataset = folder / "simulated"
    dataset.mkdir()
    labels = LabelMap.of(["background", "road", "car", "tram"])
    manifest = {"schema_version": 1, "label_map": labels.to_json(), "samples": count}
    (dataset / "manifest.json").write_text(json.dumps({**manifest, "digest": "", "groups": count}))
    random = np.random.default_rng(0)
    with (dataset / "samples.jsonl").open("w") as lines:
        for number in range(count):
            digest = "sha256:" + random.bytes(32).hex()
            present = (random.random(4) < (1, 0.9, 0.3, 0.001)).tolist()
            sample = Sample(
                f"drive_{number // 1000}_{number % 1000:06d}", f"group {number}", "", 720, 1280,
                tuple(1000 * value for value in present), "jpg", digest, digest,
                "shard-00000.tar", 0, 0, 0, 0, random.bytes(8).hex(),
            )  # fmt: skip
            lines.write(canonical_json(asdict(sample)) + "\n")
    return dataset
