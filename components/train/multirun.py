"""Several trainings from one command: each combination in a process and a folder of its own.

<output>/00/ has combination.json, train.log and the outputs of the step: checkpoint, logs,
metrics.json, training_report.html. `run_table` writes comparison.csv and comparison.html beside.
"""

import itertools
import json
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from components.train.compose import compose_config
from components.train.config import to_train_config
from segmentor.dataset import Dataset
from segmentor.errors import ConfigError

logger = logging.getLogger(__name__)

COMBINATION = "combination.json"
METRICS = "metrics.json"
REPORT = "training_report.html"
LOG = "train.log"


@dataclass(frozen=True)
class Result:
    """One combination: its overrides, those that vary, and its figures or why there are none."""

    folder: Path
    varied: tuple[str, ...]
    metrics: dict[str, float]
    error: str = ""


def combinations(overrides: Sequence[str]) -> list[tuple[list[str], tuple[str, ...]]]:
    """Every combination of the values of sweeps, as Hydra writes them, the last varying fastest.

    Args:
        overrides: Such as `model=tiny,fpn`, `training.learning_rate=choice(0.001,0.003)`,
            `seed=range(0,3)`; those of one value are part of each combination.

    Returns:
        All overrides of each combination, and those of them that vary.

    Raises:
        ConfigError: an override that cannot be read, or none that varies; or a combination that
            makes no valid configuration. Nothing has been trained by then.
    """
    choices: list[list[str]] = []
    keys: list[str] = []
    for text in overrides:
        key, values = _values(text)
        if key in keys:
            raise ConfigError(key, "several overrides of it", "one, which may have several values")
        keys.append(key)
        choices.append(values)
    if all(len(values) == 1 for values in choices):
        raise ConfigError(
            "--multirun", "no override with several values", "one such as model=tiny,fpn"
        )
    found = []
    for chosen in itertools.product(*choices):
        to_train_config(compose_config(chosen))
        varied = (item for item, values in zip(chosen, choices, strict=True) if len(values) > 1)
        found.append((list(chosen), tuple(varied)))
    return found


def _values(text: str) -> tuple[str, list[str]]:
    """The key of an override, and an override for each of its values."""
    expected = "values as key=a,b,c or key=range(0,3)"
    if re.search(r"=(glob|shuffle)\(", text):
        # Presets are few enough to name; what is drawn by chance differs when the command is given
        # again, which should go on with the same combinations.
        raise ConfigError(text, "glob or shuffle", expected)
    try:
        parsed = OverridesParser.create().parse_override(text)
        key = parsed.get_key_element()
        if not parsed.is_sweep_override():
            return key, [text]
        return key, [f"{key}={value}" for value in parsed.sweep_string_iterator()]
    except HydraException as error:
        raise ConfigError(text, f"({' '.join(str(error).split())})", expected) from error


def train_all(train: Path, val: Path, output: Path, overrides: Sequence[str]) -> list[Result]:
    """Trains every combination; one that fails is a result too, and the others go on.

    The same command again goes on where it was ended: what is finished is not trained again.

    Raises:
        ConfigError: see `combinations`; or the folder holds another multirun.
    """
    chosen = combinations(overrides)
    digests = {"train": Dataset(train).digest, "val": Dataset(val).digest}
    plans = [
        (output / f"{index:02d}", {"overrides": items, **digests}, varied)
        for index, (items, varied) in enumerate(chosen)
    ]
    for folder, plan, _ in plans:
        _claim(folder, plan)
    results = []
    for index, (folder, plan, varied) in enumerate(plans, 1):
        logger.info(
            "combination %d/%d %s log=%s", index, len(plans), " ".join(varied), folder / LOG
        )
        results.append(_train_one(folder, plan, varied, train, val))
        _log(results[-1])
    return results


def _claim(folder: Path, plan: dict[str, Any]) -> None:
    """Notes what belongs into a folder; refuses one that holds something else."""
    path = folder / COMBINATION
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != plan:
        raise ConfigError(
            str(folder), "a combination of other overrides or data", "an empty folder",
            "give another --output",
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plan, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _train_one(
    folder: Path, plan: dict[str, Any], varied: tuple[str, ...], train: Path, val: Path
) -> Result:
    """Runs the step in a process: its memory ends with it, and so does a crash."""
    if not (folder / METRICS).is_file():
        command = [sys.executable, "-m", "components.train", f"--train={train}", f"--val={val}"]
        command += [f"--checkpoint={folder / 'checkpoint'}", f"--metrics={folder / METRICS}"]
        command += [f"--logs={folder / 'logs'}", f"--training-report={folder / REPORT}"]
        with (folder / LOG).open("w", encoding="utf-8") as log:
            code = _run([*command, *plan["overrides"]], log)
        if code:
            return Result(folder, varied, {}, _reason(folder / LOG, code))
    return Result(folder, varied, json.loads((folder / METRICS).read_text(encoding="utf-8")))


def _run(command: list[str], log: Any) -> int:
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        return process.wait()
    finally:
        # On SIGTERM or Ctrl-C: it saves its state, and the same command goes on from there.
        if process.poll() is None:
            process.terminate()
            process.wait()


def _reason(log: Path, code: int) -> str:
    """Why a combination failed: the signal that ended it, or the last line of its log."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": out of memory?" if -code == signal.SIGKILL else ""
        return f"killed by {name}{hint}"
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else f"exit code {code}"


def _log(result: Result) -> None:
    if result.error:
        logger.warning("combination failed folder=%s reason=%s", result.folder.name, result.error)
        return
    figures = result.metrics
    logger.info(
        "combination done folder=%s val_iou=%.4f elapsed_s=%.0f",
        result.folder.name,
        figures.get("val_iou", float("nan")),
        figures.get("elapsed_s", float("nan")),
    )


def default_output() -> Path:
    """outputs/multirun/<DATE>/<TIME>, as single runs have outputs/<DATE>/<TIME>."""
    return Path("outputs", "multirun", time.strftime("%Y-%m-%d"), time.strftime("%H-%M-%S"))
