"""`segmentor dataset view`: one HTML page to look through images and masks; needs no server."""

import base64
import io
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from components.cli import output_file
from pipelines.datasets.files import open_datasets
from segmentor.dataset import FINDINGS, Dataset, Sample
from segmentor.image_io import encode_jpeg
from segmentor.label_map import LabelMap
from segmentor.masks import overlay_legend, resize_mask
from segmentor.progress import track

# A larger page is slow to open; the samples shown are spread evenly over the data set.
MAX_SAMPLES = 2000
PICTURE_WIDTH = 360
# What convert_labels found odd, a line each.
_TEMPLATES = Environment(
    loader=PackageLoader("pipelines", "."), autoescape=True, undefined=StrictUndefined
)


def write_view(dataset_folder: Path, target: Path) -> int:
    """Write the page of a data set artifact, or of a split's three; return the samples shown.

    Raises:
        ContractError: neither a run, nor a split, nor a data set artifact.
        ImageError: an image in it cannot be decoded.
    """
    datasets = open_datasets(dataset_folder)
    listed = [(name, dataset, s) for name, dataset in datasets.items() for s in dataset.samples]
    total = len(listed)
    if total > MAX_SAMPLES:
        listed = [listed[index * total // MAX_SAMPLES] for index in range(MAX_SAMPLES)]
    findings = {name: _findings(dataset.folder) for name, dataset in datasets.items()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        futures = [
            pool.submit(_entry, dataset, sample, name, findings[name].get(sample.id, []))
            for name, dataset, sample in listed
        ]
        entries = [future.result() for future in track(futures, "draw pictures")]
    page = _page(dataset_folder, next(iter(datasets.values())).label_map, entries, total)
    with output_file(target) as partial:
        partial.write_text(page, encoding="utf-8")
    return len(entries)


def _page(folder: Path, label_map: LabelMap, entries: list[dict[str, Any]], total: int) -> str:
    # The text is inside a <script>: a tag in a name must not close it.
    samples = json.dumps(entries, ensure_ascii=False).replace("<", "\\u003c")
    return _TEMPLATES.get_template("dataset_view.html.j2").render(
        title="Data set",
        subtitle=str(folder),
        classes=label_map.names,
        splits=sorted({entry["split"] for entry in entries if entry["split"]}),
        problems=sorted({kind for entry in entries for kind, _ in entry["problems"]}),
        legend=[(name, f"rgb{colour}") for name, colour in overlay_legend(label_map)],
        notice=f"Shows {len(entries):,} of {total:,} samples." if total > len(entries) else "",
        samples=Markup(samples),
    )


def _entry(
    dataset: Dataset, sample: Sample, split: str, problems: list[tuple[str, str]]
) -> dict[str, Any]:
    width = min(PICTURE_WIDTH, sample.width)
    height = max(1, round(sample.height * width / sample.width))
    image = dataset.image(sample, at_least=(height, width))
    image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    mask = resize_mask(dataset.mask(sample), (height, width))
    group = f", group {sample.group}" if sample.group != sample.id else ""
    return {
        "id": sample.id,
        "split": split or sample.subset,
        "classes": [index for index, count in enumerate(sample.class_pixels) if count],
        "facts": f"{sample.width} x {sample.height}{group}",
        "problems": problems,
        "image": _data_uri(encode_jpeg(image, 80), "jpeg"),
        "mask": _data_uri(_transparent_png(mask, dataset.label_map), "png"),
    }


def _transparent_png(mask: NDArray[np.uint8], label_map: LabelMap) -> bytes:
    """Encode a mask with its palette; background is transparent."""
    picture = Image.fromarray(mask)
    picture.putpalette(label_map.palette().tobytes())
    alpha = bytearray(b"\xff" * 256)
    if label_map.has_background:
        alpha[0] = 0
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=bytes(alpha), optimize=True)
    return buffer.getvalue()


def _findings(folder: Path) -> Mapping[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    path = folder / FINDINGS
    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            for line in map(json.loads, lines):
                found.setdefault(line["id"], []).append((line["kind"], line["text"]))
    return found


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
