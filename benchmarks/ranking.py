"""Does `segmentor rank` find wrong labels?

    SEGMENTOR_TEST_DATA=... OMP_NUM_THREADS=1 python -m benchmarks.ranking

Needs the folder `camvid_mini` (125 frames of CamVid, 11 classes). In a tenth of the images one
object of a pole, sign, fence, car, pedestrian or bicyclist is dropped, gets another of these
classes, or is shifted by a quarter of its size. A model is trained on these labels, wrong ones
included, and ranks them: the user's case. On the same models, many other draws of mistakes are
ranked, which they were not trained on. Intervals (95 %) resample the draws.

CamVid's own labels have mistakes too, which count as false alarms here.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.camvid import LABEL_MAPS, NAMES, write_data
from benchmarks.measuring import ROOT
from segmentor.dataset import Dataset
from segmentor.dataset_writer import DatasetWriter
from segmentor.inference import decode_for, mask_at, probability_at
from segmentor.label_map import IGNORE_INDEX
from segmentor.model import Prediction
from segmentor.ranking.labels import contradicted_regions

LABEL_MAP = LABEL_MAPS["scene"]
RECIPE = (
    "model=unet_lite0", "processing.size=[160,224]", "processing.mean=[0.5,0.5,0.5]",
    "processing.std=[0.5,0.5,0.5]", "training.learning_rate=0.002",
    "training.encoder_learning_rate=0.3", "training.overlays=0",
)  # fmt: skip
# Objects that annotators draw one by one; the others are whatever lies around them.
OBJECTS = tuple(
    NAMES.index(name) for name in ("pole", "sign", "fence", "car", "pedestrian", "bicyclist")
)
KINDS = ("dropped", "swapped", "shifted")
LEAST_OBJECT = 300  # pixels of 480 x 360
LARGE_OBJECT = 1000
SHARE = 0.1
FIGURES, PLACES = ("precision", "recall"), (5, 10, 20, 50)


class TrainedModel:
    """A checkpoint as a `segmentor.model.Model`, by torch, which spares an export a training."""

    def __init__(self, checkpoint: Path) -> None:
        from segmentor.nn.checkpoint import load_checkpoint
        from segmentor.nn.deployable import as_forward

        loaded = load_checkpoint(checkpoint)
        self._contract, self._forward = loaded.contract, as_forward(loaded.deployable())
        self.label_map, self.digest = loaded.contract.label_map, "sha256:0"

    def predict(self, image: bytes | NDArray[np.uint8]) -> Prediction:
        """Predict an image."""
        if isinstance(image, bytes):
            pixels, size = decode_for(self._contract, image)
        else:
            pixels, size = image, image.shape[:2]
        probability = self._forward(pixels[None])[0]
        mask = mask_at(probability, self._contract, size)
        return Prediction(
            mask, self.label_map, lambda: probability_at(probability, size), lambda: pixels
        )


def train(train_set: Path, val_set: Path, folder: Path, epochs: int, seed: int) -> TrainedModel:
    """Run the train step in this process."""
    from components.train.__main__ import main as train_step

    outputs = [f"--{name}={folder / name}" for name in ("metrics", "logs", "training-report")]
    code = train_step(
        [f"--train={train_set}", f"--val={val_set}", f"--checkpoint={folder / 'checkpoint'}",
         *outputs, *RECIPE, f"training.epochs={epochs}", f"seed={seed}"]
    )  # fmt: skip
    if code:
        raise SystemExit(code)
    return TrainedModel(folder / "checkpoint")


def write(folder: Path, items: Iterator[tuple[str, bytes, NDArray[np.uint8], str]]) -> Path:
    """Write a data set of (id, image, mask, group)."""
    folder.mkdir(parents=True)
    with DatasetWriter(folder, LABEL_MAP, {"source": "camvid_mini"}) as writer:
        for item in items:
            writer.add(*item)
    return folder


def objects(mask: NDArray[np.uint8], least: int) -> list[tuple[int, NDArray[np.bool_]]]:
    """Return class and bitmap of each object that is large enough to be missed by a person."""
    found = []
    for index in OBJECTS:
        count, labels, stats, _ = cv2.connectedComponentsWithStats((mask == index).astype(np.uint8))
        found += [
            (index, labels == number)
            for number in range(1, count)
            if stats[number, cv2.CC_STAT_AREA] >= least
        ]
    return found


def corrupt(
    mask: NDArray[np.uint8], kind: str, random: np.random.Generator, least: int = LEAST_OBJECT
) -> NDArray[np.uint8] | None:
    """Make one mistake of a kind in a mask; None if there is no object to make it with."""
    found = objects(mask, least)
    if not found:
        return None
    index, where = found[random.integers(len(found))]
    ring = cv2.dilate(where.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool) & ~where
    around = np.bincount(mask[ring & (mask != IGNORE_INDEX)], minlength=len(NAMES))
    around[index] = 0
    result = mask.copy()
    result[where] = around.argmax()
    if kind == "swapped":
        others = [other for other in OBJECTS if other not in (index, int(around.argmax()))]
        result[where] = random.choice(others)
    elif kind == "shifted":
        # A quarter of the object's size, 8 pixels or more.
        rows, columns = np.nonzero(where)
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        angle = random.uniform(0, 2 * np.pi)
        far = max(8, extent / 4)
        by = (round(far * np.sin(angle)), round(far * np.cos(angle)))
        rows, columns = rows + by[0], columns + by[1]
        inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
        result[rows[inside], columns[inside]] = index
    result[mask == IGNORE_INDEX] = IGNORE_INDEX
    return None if (result == mask).all() else result


def corrupted(
    datasets: Sequence[Dataset], share: float, seed: int, least: int = LEAST_OBJECT
) -> dict[str, tuple[NDArray[np.uint8], str, NDArray[np.bool_]]]:
    """Return mask, kind and changed pixels of the images that get a mistake, by id."""
    random = np.random.default_rng(seed)
    samples = [(dataset, sample) for dataset in datasets for sample in dataset.samples]
    wanted = round(share * len(samples))
    made: dict[str, tuple[NDArray[np.uint8], str, NDArray[np.bool_]]] = {}
    for position in random.permutation(len(samples)):
        if len(made) == wanted:
            break
        dataset, sample = samples[position]
        kind = KINDS[len(made) % len(KINDS)]
        mask = dataset.mask(sample)
        result = corrupt(mask, kind, random, least)
        if result is not None:
            made[sample.id] = (result, kind, result != mask)
    return made


def wrong_labels_model(folder: Path, seed: int, epochs: int) -> TrainedModel:
    """Train on labels with mistakes, as they are: four of five stretches of frames, one for val."""
    place = folder / f"wrong-{seed}"
    if (place / "checkpoint" / "contract.json").is_file():
        return TrainedModel(place / "checkpoint")
    datasets = all_parts(folder)
    mistakes = corrupted(datasets, SHARE, seed)
    items: dict[str, list[tuple[str, bytes, NDArray[np.uint8], str]]] = {"train": [], "val": []}
    for dataset in datasets:
        for sample in dataset.samples:
            mask = mistakes[sample.id][0] if sample.id in mistakes else dataset.mask(sample)
            part = "val" if int(sample.group.split("-")[1]) % 5 == 4 else "train"
            items[part].append((sample.id, dataset.image_content(sample), mask, sample.group))
    sets = {part: write(place / part, iter(rows)) for part, rows in items.items()}
    return train(sets["train"], sets["val"], place, epochs, seed)


def all_parts(folder: Path) -> list[Dataset]:
    """Return all 125 images."""
    return [Dataset(write_data(folder, "scene") / part) for part in ("train", "val", "test")]


@dataclass(frozen=True)
class Looked:
    """What a ranking sees of an image with some label: its loss, and its regions (score, is hit).

    A region is a hit if half of it was changed on purpose, or if it has half of what was changed.
    """

    loss: float
    regions: list[tuple[float, bool]]


def look(
    label: NDArray[np.uint8], prediction: Prediction, changed: NDArray[np.bool_] | None
) -> Looked:
    probability, mask = prediction.probability, prediction.mask
    valid = label != IGNORE_INDEX
    of_label = np.take_along_axis(probability, np.where(valid, label, 0)[None].astype(int), 0)[0]
    regions = []
    for region in contradicted_regions(label, mask, probability):
        top, left, bottom, right = region.box
        window = np.s_[top:bottom, left:right]
        inside = (label[window] == region.labelled) & (mask[window] == region.predicted)
        common = 0 if changed is None else int((inside & changed[window]).sum())
        is_hit = changed is not None and common >= 0.5 * min(region.pixels, int(changed.sum()))
        regions.append((region.score, is_hit and common > 0))
    return Looked(float(-np.log(of_label[valid].clip(1e-6)).mean()), regions)


def measure(looked: dict[str, Looked], wrong: set[str], seed: int) -> dict[str, float]:
    """Return the figures of one draw of mistakes."""
    # Not the seed alone: it has drawn the images that have a mistake.
    random = np.random.default_rng((seed, 1))
    places = [(score, hit, name) for name, item in looked.items() for score, hit in item.regions]
    places.sort(key=lambda place: -place[0])
    best = {name: max((s for s, _ in item.regions), default=0) for name, item in looked.items()}
    orders = {
        "random": random.permutation(list(looked)).tolist(),
        "plain loss": sorted(looked, key=lambda name: -looked[name].loss),
        "ours": sorted(best, key=lambda name: -best[name]),
    }
    figures = {}
    for name, order in orders.items():
        for k in PLACES:
            found = sum(image in wrong for image in order[:k])
            figures[f"images, {name}: precision at {k}"] = found / k
            figures[f"images, {name}: recall at {k}"] = found / len(wrong)
    shuffled = [places[i] for i in random.permutation(len(places))]
    for name, order in (("random", shuffled), ("ours", places)):
        for k in PLACES:
            figures[f"regions, {name}: precision at {k}"] = sum(p[1] for p in order[:k]) / k
            found = len({p[2] for p in order[:k] if p[1]})
            figures[f"regions, {name}: recall at {k}"] = found / len(wrong)
    return figures


def wrong_labels(folder: Path, trainings: int, draws: int, epochs: int) -> None:
    """Measure mistakes that were trained on, and others drawn afterwards, on the same models."""
    datasets = all_parts(folder)
    samples = [(dataset, sample) for dataset in datasets for sample in dataset.samples]
    trained, fresh, large = [], [], []
    for seed in range(trainings):
        model = wrong_labels_model(folder, seed, epochs)
        predicted = {s.id: model.predict(d.image_content(s)) for d, s in samples}
        clean = {s.id: look(d.mask(s), predicted[s.id], None) for d, s in samples}
        for draw in range(draws + 1):
            for least, results in ((LEAST_OBJECT, fresh), (LARGE_OBJECT, large)):
                if not draw and least == LARGE_OBJECT:
                    continue
                number = seed if not draw else 1000 * (seed + 1) + draw
                mistakes = corrupted(datasets, SHARE, number, least)
                looked = dict(clean)
                for name, (mask, _, changed) in mistakes.items():
                    looked[name] = look(mask, predicted[name], changed)
                figures = measure(looked, set(mistakes), number)
                (results if draw else trained).append(figures)
    for title, results in (
        ("mistakes that the model was trained on", trained),
        ("other mistakes", fresh),
        (f"other mistakes in objects of {LARGE_OBJECT} pixels or more", large),
    ):
        print_figures(title, results)


def print_figures(title: str, results: list[dict[str, float]]) -> None:
    """Print means over the draws; intervals resample the draws."""
    values = {name: np.array([figures[name] for figures in results]) for name in results[0]}
    picks = np.random.default_rng(0).integers(0, len(results), (2000, len(results)))
    print(f"\n{title}: {len(results)} draws\n")
    print("| ranking | " + " | ".join(f"{f} at {k}" for f in FIGURES for k in PLACES) + " |")
    print("|---" * (1 + len(FIGURES) * len(PLACES)) + "|")
    for ranking in dict.fromkeys(name.split(":")[0] for name in values):
        cells = []
        for figure, k in itertools.product(FIGURES, PLACES):
            column = values[f"{ranking}: {figure} at {k}"]
            low, high = np.quantile(column[picks].mean(1), [0.025, 0.975])
            cells.append(f"{column.mean():.2f} ({low:.2f} to {high:.2f})")
        print(f"| {ranking} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "ranking")
    parser.add_argument("--trainings", type=int, default=3)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    wrong_labels(arguments.folder, arguments.trainings, arguments.draws, arguments.epochs)


if __name__ == "__main__":
    main()
