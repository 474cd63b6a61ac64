"""Accuracy beside speed: each preset of the network on CamVid, trained for the same CPU time.

    SEGMENTOR_TEST_DATA=... python -m benchmarks.presets [--cpu-s 120] [--seeds 3]

Data, augmentation and held-out drives are those of `benchmarks.camvid`, with its eleven classes. An
epoch of each preset is timed first; then it trains for as many as fit into the time, once a seed.
Runs what is not yet in --folder, then prints the table of all that is.

Intervals (95 %) draw seeds and stretches of five consecutive frames, both with replacement.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.camvid import LIGHT, evaluate, train, write_data
from components.train.configuration.compose import preset_values, presets
from segmentor.bootstrap import iou_statistic, resample, sum_by_group
from segmentor.comparison import read_measured

RECIPE = ["processing.size=[96,128]", "processing.mean=[0.5,0.5,0.5]",
          "processing.std=[0.5,0.5,0.5]", *LIGHT]  # fmt: skip
# Weights that come with a package; other presets start from random ones.
WITH_WEIGHTS = {"unet_lite0": "training.encoder_learning_rate=0.3"}
SHORT, LONG = 2, 8


def overrides(preset: str, epochs: int, seed: int) -> list[str]:
    """Return the training of a preset from the weights that there are."""
    weights = WITH_WEIGHTS.get(preset, "model.encoder_weights=none")
    return [f"model={preset}", weights, f"training.epochs={epochs}", f"seed={seed}", *RECIPE]


def epochs_in(data: Path, place: Path, preset: str, cpu_s: float) -> int:
    """Return how many epochs take the time, from runs of two lengths; kept in a file."""
    known = place / "epochs.json"
    if not known.is_file():
        spent = [train(data, place / str(n), overrides(preset, n, 0)).cpu_s for n in (SHORT, LONG)]
        an_epoch = (spent[1] - spent[0]) / (LONG - SHORT)
        known.write_text(json.dumps(max(round(cpu_s / an_epoch), 1)))
    return int(json.loads(known.read_text()))


def run(folder: Path, preset: str, cpu_s: float, seed: int) -> None:
    """Train and measure, unless that is done."""
    data, place = write_data(folder, "scene"), folder / preset / f"seed-{seed}"
    if (place / "evaluation").is_dir():
        return
    place.mkdir(parents=True, exist_ok=True)
    epochs = epochs_in(data, place.parent, preset, cpu_s)
    spent = train(data, place, overrides(preset, epochs, seed))
    (place / "spent.json").write_text(json.dumps({"epochs": epochs, "cpu_s": spent.cpu_s}))
    evaluate(data, place)


def row(place: Path) -> str:
    """The line of a preset: the mean IoU of its seeds, and what it was trained with."""
    statistic = iou_statistic(is_binary=False)
    values, draws, spent = [], [], []
    for run_place in sorted(place.glob("seed-*/evaluation")):
        measured = read_measured(run_place)
        sums = sum_by_group(measured.groups, measured.counts)
        values.append(float(statistic(sums.sum(axis=0)[None])[0]))
        draws.append(statistic(resample(sums)))  # the same stretches for each seed
        spent.append(json.loads((run_place.parent / "spent.json").read_text()))
    random = np.random.default_rng(0)
    drawn = random.integers(len(values), size=(len(draws[0]), len(values)))
    means = np.take_along_axis(np.stack(draws, axis=1), drawn, axis=1).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    start = "ImageNet" if place.name in WITH_WEIGHTS else "random"
    each = ", ".join(f"{value:.3f}" for value in values)
    return (
        f"| `{place.name}` | {start} | {spent[0]['epochs']} "
        f"| {np.mean([item['cpu_s'] for item in spent]):.0f} "
        f"| {np.mean(values):.3f} | {low:.3f} to {high:.3f} | {each} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("outputs/presets"))
    parser.add_argument("--cpu-s", type=float, default=120)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    # Those that ask for weights have nothing to show without them.
    values = zip(presets("model"), preset_values("model"), strict=True)
    names = [name for name, value in values if value["encoder_weights"] != "???"]
    for seed in range(arguments.seeds):
        for name in names:
            run(folder, name, arguments.cpu_s, seed)
    print("| preset | encoder weights | epochs | CPU s | mean IoU | 95 % | each seed |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        print(row(folder / name))


if __name__ == "__main__":
    main()
