"""Does choosing images to label beat drawing them? The loop of labelling, simulated on CamVid.

    SEGMENTOR_TEST_DATA=... OMP_NUM_THREADS=1 python -m benchmarks.next_images [--seeds 20]

Needs the folder `camvid_mini`. Starts with 10 labelled images of four drives and adds 10 at a time,
by each way of choosing, up to 50. IoU (mean over 11 classes) on other stretches of the drives. The
start of a seed is the same for all ways; differences are paired, intervals (95 %) resample seeds.

Learns a linear classifier of the features of unet_lite0's ImageNet encoder, which stays as it is,
at a quarter of 160 x 224: seconds a training, so that many seeds can be run, and no training is cut
short. A whole network learns more from each image, and its probabilities are less calibrated.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.measuring import ROOT
from benchmarks.ranking import LABEL_MAP, all_parts
from components.train.encoder_weights import EFFICIENTNET_LITE0, load_encoder_weights
from segmentor.label_map import IGNORE_INDEX
from segmentor.metrics import confusion_matrix, dataset_iou
from segmentor.nn.network import NetworkConfig, build_network
from segmentor.ranking.images import Look, doubt, spread

CLASSES = len(LABEL_MAP)
SIZE, STRIDE = (160, 224), 4
START, STEP, MOST = 10, 10, 50
EPOCHS = 40


@dataclass(frozen=True)
class Images:
    """Features (N, D, h, w) and labels uint8 (N, h, w) of all images, and how they look."""

    features: Tensor
    mirrored: Tensor
    labels: NDArray[np.uint8]
    looks: list[Look]
    pool: list[int]
    test: list[int]


class Linear:
    """Softmax regression a pixel, on some images."""

    def __init__(self, images: Images, chosen: Sequence[int]) -> None:
        torch.manual_seed(0)
        # Every second pixel both ways: neighbours say the same.
        features = images.features[list(chosen), :, ::2, ::2]
        x = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
        y = torch.from_numpy(images.labels[list(chosen), ::2, ::2].reshape(-1).astype(np.int64))
        known = y != IGNORE_INDEX
        x, y = x[known], y[known]
        self._layer = torch.nn.Linear(x.shape[1], CLASSES)
        optimizer = torch.optim.Adam(self._layer.parameters(), lr=0.01, weight_decay=1e-4)
        for epoch in range(EPOCHS):
            optimizer.param_groups[0]["lr"] = 0.01 * (1 - epoch / EPOCHS)
            for batch in torch.randperm(len(x)).split(4096):
                loss = functional.cross_entropy(self._layer(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def probability(self, features: Tensor) -> NDArray[np.float32]:
        """Return float32 (K, h, w) of one image's features (D, h, w)."""
        with torch.inference_mode():
            scores = self._layer(features.permute(1, 2, 0)).softmax(-1)
        return np.ascontiguousarray(scores.permute(2, 0, 1).numpy())


def read_images(folder: Path) -> Images:
    """Compute the features once."""
    network = build_network(NetworkConfig("unet", "tu-tf_efficientnet_lite0", {}), CLASSES)
    load_encoder_weights(network, "tu-tf_efficientnet_lite0", EFFICIENTNET_LITE0)
    encoder = network.get_submodule("encoder").eval()
    small = (SIZE[0] // STRIDE, SIZE[1] // STRIDE)

    def features_of(image: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            levels = encoder(pixels)[2:5]
        parts = [functional.interpolate(part, size=small, mode="bilinear") for part in levels]
        return torch.cat(parts, 1)[0].half()

    features, mirrored, labels, looks = [], [], [], []
    pool, test = [], []
    for dataset in all_parts(folder):
        for sample in dataset.samples:
            drive, stretch = sample.group.split("-")
            (test if int(stretch) % 5 in (2, 4) else pool).append(len(labels))
            image = cv2.resize(dataset.image(sample), SIZE[::-1], interpolation=cv2.INTER_AREA)
            features.append(features_of(image))
            mirrored.append(features_of(image[:, ::-1]).flip(-1))
            label = cv2.resize(
                dataset.mask(sample), small[::-1], interpolation=cv2.INTER_NEAREST_EXACT
            )
            labels.append(label)
            looks.append(Look.of(image, drive))
    stacked = torch.stack(features).float()
    mean, scale = stacked.mean((0, 2, 3), keepdim=True), stacked.std((0, 2, 3), keepdim=True) + 1e-6
    return Images(
        (stacked - mean) / scale,
        (torch.stack(mirrored).float() - mean) / scale,
        np.stack(labels),
        looks,
        pool,
        test,
    )


Choose = Callable[[Images, Linear, list[int], np.random.Generator], list[int]]


def at_random(
    images: Images, model: Linear, left: list[int], random: np.random.Generator
) -> list[int]:
    return random.permutation(left)[:STEP].tolist()


def by_doubt(
    images: Images, model: Linear, left: list[int], random: np.random.Generator
) -> list[int]:
    return _best(_doubts(images, model, left), left)


def by_doubt_spread(
    images: Images, model: Linear, left: list[int], random: np.random.Generator
) -> list[int]:
    scores = _doubts(images, model, left)
    return [left[i] for i in spread(scores, [images.looks[i] for i in left], STEP)[:STEP]]


def by_flips(
    images: Images, model: Linear, left: list[int], random: np.random.Generator
) -> list[int]:
    scores = []
    for i in left:
        one, other = (model.probability(f[i]).argmax(0) for f in (images.features, images.mirrored))
        scores.append(float((one != other).mean()))
    return _best(scores, left)


WAYS: dict[str, Choose] = {
    "random": at_random,
    "doubt": by_doubt,
    "doubt, spread": by_doubt_spread,
    "flips": by_flips,
}


def _best(scores: Sequence[float], left: list[int]) -> list[int]:
    return [left[i] for i in np.argsort(-np.array(scores), kind="stable")[:STEP]]


def _doubts(images: Images, model: Linear, left: list[int]) -> list[float]:
    return [doubt(model.probability(images.features[i])) for i in left]


def test_iou(images: Images, model: Linear) -> float:
    """Return the mean IoU over the classes."""
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    for i in images.test:
        mask = model.probability(images.features[i]).argmax(0).astype(np.uint8)
        counts += confusion_matrix(images.labels[i], mask, CLASSES)
    return dataset_iou(counts, is_binary=False)


def run(images: Images, seed: int) -> dict[str, list[float]]:
    """Return the IoU after each round, by way of choosing."""
    start = np.random.default_rng(seed).permutation(images.pool)[:START].tolist()
    first = Linear(images, start)
    curves = {}
    for name, choose in WAYS.items():
        random = np.random.default_rng(1000 + seed)
        chosen, model = list(start), first
        curve = [test_iou(images, model)]
        while len(chosen) < MOST:
            left = [i for i in images.pool if i not in chosen]
            chosen += choose(images, model, left, random)
            model = Linear(images, chosen)
            curve.append(test_iou(images, model))
        curves[name] = curve
    return curves


def print_tables(runs: list[dict[str, list[float]]]) -> None:
    """Print IoU by number of labels, differences to random, and the labels that are saved."""
    labels = list(range(START, MOST + 1, STEP))
    curves = {name: np.array([run[name] for run in runs]) for name in WAYS}  # (S, R)
    print(f"{len(runs)} seeds\n\n| way | " + " | ".join(map(str, labels)) + " |")
    print("|---" * (len(labels) + 1) + "|")
    for name, values in curves.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values.mean(0)) + " |")
    print("\n| way - random | " + " | ".join(map(str, labels[1:])) + " | labels saved at 30 |")
    print("|---" * (len(labels) + 1) + "|")
    draws = np.random.default_rng(0).integers(0, len(runs), (2000, len(runs)))
    for name, values in curves.items():
        if name == "random":
            continue
        gain = (values - curves["random"])[:, 1:]
        low, high = np.quantile(gain[draws].mean(1), [0.025, 0.975], axis=0)
        cells = [
            f"{g:+.3f} ({a:+.3f} to {b:+.3f})"
            for g, a, b in zip(gain.mean(0), low, high, strict=True)
        ]
        saved = [_saved(values[d].mean(0), curves["random"][d].mean(0), labels) for d in draws]
        value = _saved(values.mean(0), curves["random"].mean(0), labels)
        low, high = np.quantile(saved, [0.025, 0.975])
        print(f"| {name} | " + " | ".join(cells) + f" | {value:.0f} ({low:.0f} to {high:.0f}) |")


def _saved(chosen: NDArray[np.float64], drawn: NDArray[np.float64], labels: Sequence[int]) -> float:
    """Return how many more labels drawing needs for the IoU that choosing has with 30."""
    level = chosen[labels.index(30)]
    # A noisy curve may fall: its highest value so far counts.
    return float(np.interp(level, np.maximum.accumulate(drawn), labels)) - 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "ranking")
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    images = read_images(arguments.folder)
    path = arguments.folder / "next_images.json"
    runs = json.loads(path.read_text()) if path.is_file() else []
    for seed in range(len(runs), arguments.seeds):
        runs.append(run(images, seed))
        path.write_text(json.dumps(runs))
    print_tables(runs)


if __name__ == "__main__":
    main()
