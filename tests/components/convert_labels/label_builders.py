"""Builds one labelled task and writes it as each CVAT format, independently of our readers."""

import io
import json
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as coco
from numpy.typing import NDArray
from PIL import Image

COLOURS = {"car": (0, 0, 142), "road": (128, 64, 128), "traffic light": (250, 170, 30)}


@dataclass
class Drawn:
    """One shape: `values` as CVAT's XML has them, for masks the boolean pixels of a box."""

    kind: str
    label: str
    values: list[float] | NDArray[np.bool_]
    z_order: int = 0
    left: int = 0
    top: int = 0
    rotation: float = 0.0
    group: int = 0


BOX = Drawn("box", "car", [1, 1, 9, 9])


@dataclass
class Task:
    """Images of a size, and their shapes in document order."""

    images: dict[str, tuple[int, int]]
    shapes: dict[str, list[Drawn]] = field(default_factory=dict)
    colours: dict[str, tuple[int, int, int]] = field(default_factory=lambda: dict(COLOURS))


def plain_task() -> Task:
    """Three images without overlaps; the last has no labels."""
    brush = np.zeros((7, 9), np.bool_)
    brush[1:6, 2:8] = True
    brush[3, 4] = False
    brush[0, 0] = True
    return Task(
        {"a.b c.jpg": (60, 80), "deep/er/b.png": (47, 33), "none.png": (20, 30)},
        {
            "a.b c.jpg": [
                Drawn("polygon", "road", [2.13, 40.5, 70.75, 38.22, 78, 58.9, 1, 55.01]),
                Drawn("box", "car", [10.4, 5.2, 30.7, 21.9]),
                Drawn("mask", "traffic light", brush, left=60, top=4),
            ],
            "deep/er/b.png": [
                Drawn("polygon", "traffic light", [3, 3, 20.5, 3, 20.5, 18.25, 11, 9]),
                Drawn("mask", "road", brush, left=20, top=30),
            ],
        },
    )


def photograph(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Smooth noise, RGB: compresses like a photograph, and its pHash is its own."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def encoded(size: tuple[int, int], name: str, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    kind = "JPEG" if name.lower().endswith((".jpg", ".jpeg")) else "PNG"
    Image.fromarray(photograph(size, seed)).save(buffer, kind)
    return buffer.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_zip(path: Path, files: Mapping[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def image_files(task: Task, folder: str = "images/") -> dict[str, bytes]:
    return {
        f"{folder}{name}": encoded(size, name, seed)
        for seed, (name, size) in enumerate(task.images.items())
    }


def cvat_xml(task: Task) -> str:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels"
    )
    for name, colour in task.colours.items():
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "color").text = "#" + bytes(colour).hex()
    for number, (name, (height, width)) in enumerate(task.images.items()):
        attributes = {"id": str(number), "name": name, "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", attributes)
        for shape in task.shapes.get(name, []):
            ElementTree.SubElement(image, shape.kind, cvat_attributes(shape))
    return ElementTree.tostring(root, encoding="unicode")


def cvat_attributes(shape: Drawn) -> dict[str, str]:
    common = {"label": shape.label, "source": "manual", "occluded": "0"}
    common |= {"z_order": str(shape.z_order)}
    if shape.rotation:
        common["rotation"] = f"{shape.rotation:.2f}"
    if shape.group:
        common["group_id"] = str(shape.group)
    if isinstance(shape.values, np.ndarray):
        height, width = shape.values.shape
        box = {"left": shape.left, "top": shape.top, "width": width, "height": height}
        runs = ", ".join(str(run) for run in plain_runs(shape.values.ravel()))
        return {**common, "rle": runs, **{key: str(value) for key, value in box.items()}}
    numbers = [f"{value:.2f}" for value in shape.values]
    if shape.kind == "polygon":
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        return {**common, "points": ";".join(",".join(pair) for pair in pairs)}
    names = {"box": ("xtl", "ytl", "xbr", "ybr"), "ellipse": ("cx", "cy", "rx", "ry")}
    return {**common, **dict(zip(names[shape.kind], numbers, strict=True))}


def plain_runs(bits: NDArray[np.bool_]) -> list[int]:
    """Alternating run lengths, zeros first, one bit at a time."""
    runs, value, length = [], False, 0
    for bit in bits.tolist():
        if bit == value:
            length += 1
        else:
            runs.append(length)
            value, length = bit, 1
    return [*runs, length]


def pixels_of(shape: Drawn, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels a shape covers, straight from the libraries that CVAT uses."""
    height, width = size
    if isinstance(shape.values, np.ndarray):
        canvas = np.zeros(size, np.bool_)
        rows, columns = shape.values.shape
        canvas[shape.top : shape.top + rows, shape.left : shape.left + columns] = shape.values
        return canvas
    points = list(shape.values)
    if shape.kind == "box":
        x1, y1, x2, y2 = points
        points = [x1, y1, x2, y1, x2, y2, x1, y2]
    if shape.kind == "ellipse":
        canvas = np.zeros(size, np.uint8)
        x, y, rx, ry = (round(value) for value in points)
        cv2.ellipse(canvas, (x, y), (rx, ry), shape.rotation, 0, 360, 1, -1)
        return canvas.astype(np.bool_)
    return coco.decode(coco.frPyObjects([points], height, width)[0]).astype(np.bool_)


def painted(task: Task, name: str) -> NDArray[np.uint8]:
    """The mask as indices into (background, sorted labels), by z order, then document order."""
    names = sorted(task.colours)
    mask = np.zeros(task.images[name], np.uint8)
    for shape in sorted(task.shapes.get(name, []), key=lambda shape: shape.z_order):
        mask[pixels_of(shape, task.images[name])] = names.index(shape.label) + 1
    return mask


def images_export(task: Task, path: Path) -> Path:
    return write_zip(path, {"annotations.xml": cvat_xml(task), **image_files(task)})


def mask_export(task: Task, path: Path) -> Path:
    names = sorted(task.colours)
    palette = np.array([(0, 0, 0), *(task.colours[name] for name in names)], np.uint8)
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{name}:{','.join(map(str, task.colours[name]))}::" for name in names]
    files: dict[str, bytes | str] = {"labelmap.txt": "\n".join(lines) + "\n"}
    stems = {name: name.rpartition(".")[0] for name in task.images}
    files["ImageSets/Segmentation/default.txt"] = "".join(f"{s}\n" for s in stems.values())
    for name in task.shapes:
        files[f"SegmentationClass/{stems[name]}.png"] = png(palette[painted(task, name)])
    return write_zip(path, {**files, **image_files(task, "JPEGImages/")})


def coco_export(task: Task, path: Path) -> Path:
    ids = {name: number for number, name in enumerate(task.colours, 1)}
    images, annotations = [], []
    for number, (name, (height, width)) in enumerate(task.images.items(), 1):
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for shape in task.shapes.get(name, []):
            segmentation: object = []
            if shape.kind == "polygon":
                segmentation = [list(shape.values)]
            elif isinstance(shape.values, np.ndarray):
                counts = plain_runs(pixels_of(shape, (height, width)).T.ravel())
                segmentation = {"counts": counts, "size": [height, width]}
            entry = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": ids[shape.label],
                "segmentation": segmentation,
                "iscrowd": int(shape.kind == "mask"),
            }
            if shape.kind == "box":
                x1, y1, x2, y2 = shape.values
                entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(entry)
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    files = {f"images/default/{name[7:]}": data for name, data in image_files(task).items()}
    return write_zip(path, {"annotations/instances_default.json": json.dumps(content), **files})


def datumaro_export(task: Task, path: Path) -> Path:
    names = list(task.colours)
    items = []
    for name, size in task.images.items():
        annotations = []
        for shape in task.shapes.get(name, []):
            entry: dict[str, object] = {
                "type": {"box": "bbox"}.get(shape.kind, shape.kind),
                "label_id": names.index(shape.label),
                "z_order": shape.z_order,
                "group": shape.group,
            }
            if isinstance(shape.values, np.ndarray):
                rle = coco.encode(np.asfortranarray(pixels_of(shape, size).astype(np.uint8)))
                entry["rle"] = {"counts": rle["counts"].decode(), "size": list(size)}
            elif shape.kind == "box":
                x1, y1, x2, y2 = shape.values
                entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            else:
                entry["points"] = list(shape.values)
            annotations.append(entry)
        image = {"path": name, "size": list(size)}
        items.append({"id": name.rpartition(".")[0], "annotations": annotations, "image": image})
    labels = [{"name": name, "parent": ""} for name in names]
    content = {"info": {}, "categories": {"label": {"labels": labels}}, "items": items}
    files = {f"images/default/{name[7:]}": data for name, data in image_files(task).items()}
    return write_zip(path, {"annotations/default.json": json.dumps(content), **files})


def camvid_export(task: Task, path: Path) -> Path:
    names = sorted(task.colours)
    palette = np.array([(0, 0, 0), *(task.colours[name] for name in names)], np.uint8)
    colours = "".join(f"{r} {g} {b} {name}\n" for name, (r, g, b) in task.colours.items())
    files: dict[str, bytes | str] = {"label_colors.txt": colours}
    for name in task.shapes:
        stem = name.rpartition(".")[0]
        files[f"defaultannot/{stem}.png"] = png(palette[painted(task, name)])
    masks = {name: f"defaultannot/{name.rpartition('.')[0]}.png" for name in task.shapes}
    lines = [f'"/default/{name}" "{masks.get(name, "")}"' for name in task.images]
    files["default.txt"] = "\n".join(lines) + "\n"
    return write_zip(path, {**files, **image_files(task, "default/")})


def many_images(count: int) -> Task:
    images = {f"drive_{n % 4}_{n:04d}.jpg": (24, 32) for n in range(count)}
    return Task(images, {name: [BOX] for name in images})
