"""One of several trainings: a process and a folder of its own.

<folder>/ has combination.json, train.log and the outputs of the step: checkpoint, logs,
metrics.json, training_report.html.
"""

import fcntl
import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmentor.errors import ConfigError

logger = logging.getLogger(__name__)

COMBINATION = "combination.json"
METRICS = "metrics.json"
REPORT = "training_report.html"
LOG = "train.log"
LOGS = "logs"
CHECKPOINT = "checkpoint"
_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Result:
    """One training: its overrides that vary, and its figures or why there are none.

    `pruned_after` is the epoch after which a search stopped it; 0 if it was left to its end.
    """

    folder: Path
    varied: tuple[str, ...]
    metrics: dict[str, float]
    error: str = ""
    pruned_after: int = 0

    @property
    def is_done(self) -> bool:
        """Whether it was trained to its end."""
        return not self.error and not self.pruned_after


def claim(folder: Path, plan: dict[str, Any]) -> None:
    """Note what belongs into a folder; refuse one that holds something else.

    Raises:
        ConfigError: the folder has a training of other overrides or data.
    """
    path = folder / COMBINATION
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != plan:
        raise ConfigError(
            str(folder), "a combination of other overrides or data", "an empty folder",
            "give another --output",
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plan, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def train_one(
    folder: Path,
    overrides: list[str],
    varied: tuple[str, ...],
    data: tuple[Path, Path],
    is_hopeless: Callable[[], bool] | None = None,
) -> Result | None:
    """Run the step in a process: its memory ends with it, and so does a crash.

    Args:
        folder: Its own; a finished training there is not repeated, a broken one is continued.
        overrides: All of them.
        varied: Those that differ between the trainings.
        data: The data sets to learn from and to choose the epoch on.
        is_hopeless: Asked twice a second; True ends the training.

    Returns:
        The result, or None if it was hopeless.
    """
    with (folder / LOG).open("a", encoding="utf-8") as log:
        # The process inherits the lock: if this one is killed, the next waits for its end.
        fcntl.flock(log, fcntl.LOCK_EX)
        if not (folder / METRICS).is_file():
            command = [sys.executable, "-m", "components.train"]
            command += [
                f"--{name}={path}" for name, path in zip(("train", "val"), data, strict=True)
            ]
            command += [f"--checkpoint={folder / CHECKPOINT}", f"--metrics={folder / METRICS}"]
            command += [f"--logs={folder / LOGS}", f"--training-report={folder / REPORT}"]
            code = _run([*command, *overrides], log, is_hopeless)
            if code is None:
                return None
            if code:
                return Result(folder, varied, {}, reason(folder / LOG, code))
    return finished(folder, varied)


def finished(folder: Path, varied: tuple[str, ...]) -> Result:
    """Read the result of a training that was left to its end."""
    return Result(folder, varied, json.loads((folder / METRICS).read_text(encoding="utf-8")))


def _run(command: list[str], log: Any, is_hopeless: Callable[[], bool] | None) -> int | None:
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while is_hopeless is not None and process.poll() is None:
            if is_hopeless():
                return None
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return process.wait()
    finally:
        # On SIGTERM or Ctrl-C: it saves its state, and the same command goes on from there.
        if process.poll() is None:
            process.terminate()
            process.wait()


def reason(log: Path, code: int) -> str:
    """Return why a training failed: the signal that ended it, or the last line of its log."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": out of memory?" if -code == signal.SIGKILL else ""
        return f"killed by {name}{hint}"
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else f"exit code {code}"


def log_result(result: Result) -> None:
    """Log how a training ended."""
    name = result.folder.name
    if result.error:
        logger.warning("training failed folder=%s reason=%s", name, result.error)
        return
    logger.info(
        "training %s folder=%s val_iou=%.4f epochs=%.0f",
        "pruned" if result.pruned_after else "done",
        name,
        result.metrics.get("val_iou", float("nan")),
        result.metrics.get("epochs", float("nan")),
    )
