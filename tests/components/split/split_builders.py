"""Makes small data sets for split, and runs it as the command line does."""

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from components.split.__main__ import main
from segmentor.dataset import Dataset, Sample
from segmentor.dataset_writer import DatasetWriter
from segmentor.digests import digest_bytes
from segmentor.image_io import decode_image, encode_index, encode_png
from segmentor.label_map import LabelMap
from segmentor.masks import count_classes
from segmentor.perceptual_hash import perceptual_hash

LABELS = LabelMap.of(["background", "road", "car"])
ALL = (0, 1, 2)


def sample(
    name: str, group: str = "", classes: tuple[int, ...] = (1, 1, 1), **facts: str
) -> Sample:
    """A line of samples.jsonl alone, for what needs no pixels."""
    values = {"subset": "", "image_digest": digest_bytes(name.encode()), "perceptual_hash": ""}
    values |= facts
    return Sample(
        id=name,
        group=group or name,
        height=10,
        width=10,
        class_pixels=classes,
        extension="png",
        mask_digest="",
        shard=0,
        image_offset=0,
        image_bytes=0,
        mask_offset=0,
        mask_bytes=0,
        **values,
    )


def picture(seed: int) -> bytes:
    """An image whose perceptual hash is its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return encode_png(np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1))


def frame(drive: int, number: int) -> bytes:
    """A frame of a drive: the next one shows the same scene, a little further on."""
    field = np.random.default_rng(drive).integers(0, 256, (6, 60), dtype=np.uint8)
    scene = cv2.resize(field, (960, 96), interpolation=cv2.INTER_CUBIC)
    view = scene[:, 4 * number : 4 * number + 96]
    return encode_png(np.repeat(np.asarray(view, np.uint8)[::3, ::3, None], 3, axis=2))


def film(name: str, drive: int, count: int, subset: str = "") -> list[Sample]:
    """Lines of a drive's frames; `name` has their number."""
    prefix = f"{subset}/" if subset else ""
    return [
        sample(
            prefix + name.format(n),
            subset=subset,
            perceptual_hash=perceptual_hash(decode_image(frame(drive, n))),
        )
        for n in range(count)
    ]


def write_dataset(
    folder: Path, entries: Iterable[tuple[str, str, str, bytes, tuple[int, ...]]]
) -> Path:
    """Write (id, group, subset, image, classes in the mask) of 32 x 32 pixels."""
    folder.mkdir(parents=True)
    with DatasetWriter(folder, LABELS, {"source": "test"}) as writer:
        for name, group, subset, image, classes in entries:
            mask = np.zeros((32, 32), np.uint8)
            for position, index in enumerate(classes):
                mask[position] = index
            counts = count_classes(mask, LABELS, name)
            found = perceptual_hash(decode_image(image))
            writer.add_encoded(
                name, image, "png", encode_index(mask), (32, 32), counts, group, subset, found
            )
    return folder


def run_split(dataset: Path, folder: Path, *flags: str) -> int:
    outputs = [part for s in ("train", "val", "test") for part in (f"--{s}", str(folder / s))]
    report = ["--split-report", str(folder / "report.html")]
    return main(["--dataset", str(dataset), *outputs, *report, *flags])


def split(dataset: Path, folder: Path, *flags: str) -> dict[str, Dataset]:
    assert run_split(dataset, folder, *flags) == 0
    return {name: Dataset(folder / name) for name in ("train", "val", "test")}


def executor_input(folder: Path) -> str:
    names = ("train", "val", "test", "split_report")
    outputs = {n: {"artifacts": [{"name": n, "uri": str(folder / n)}]} for n in names}
    return json.dumps({"outputs": {"outputFile": str(folder / "out.json"), "artifacts": outputs}})


def warnings(folder: Path) -> list[str]:
    """What the step told KFP of its report."""
    output = json.loads((folder / "out.json").read_text())
    (report,) = output["artifacts"]["split_report"]["artifacts"]
    return str(report["metadata"]["warnings"]).splitlines()
