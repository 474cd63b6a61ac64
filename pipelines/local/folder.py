"""The folder of a local run: its layout, and whether a run may begin or go on in it.

artifacts/<step>/<output>   what the steps made
configs/                    the parameters, the pipeline, the resolved training configuration
logs/<step>.log             what each step said; kfp.log is the orchestrator's
reports/, index.html        pages for a browser
run.json                    steps, artifacts with digests, parameters, versions
tensorboard                 the training events
"""

import contextlib
import datetime
import fcntl
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from pipelines.local.orchestrator import ARTIFACTS, LOGS
from pipelines.parameters import PATH_PARAMETERS, checked_parameters
from segmentor.errors import ConfigError
from segmentor.run_record import FILE_NAME, RunRecord
from segmentor.source_state import path_state

Runner = Literal["host", "docker"]

CONFIGS = "configs"
PIPELINE_FILE = "pipeline.yaml"
# An embedded object store may run here already: its data belong to the run.
STORE = "store"
LOCK = ".lock"
_ANEW = "leave out --output for a new folder"


@dataclass(frozen=True)
class RunPlan:
    """A run before it starts; `earlier` is the one to continue, if the folder holds one.

    `values` has every parameter, paths absolute; `inputs` says what the files look like that they
    name.
    """

    folder: Path
    pipeline: Path
    runner: Runner
    values: dict[str, Any]
    inputs: dict[str, str]
    earlier: RunRecord | None

    @property
    def changes(self) -> list[str]:
        """Differences from the earlier run's parameters, such as 'min_iou 0.9 -> 0.8'."""
        before = self.values if self.earlier is None else self.earlier.parameters
        return [
            f"{name} {before.get(name)!r} -> {value!r}"
            for name, value in self.values.items()
            if before.get(name) != value
        ]

    @property
    def paths(self) -> list[Path]:
        """The files and folders that parameters name."""
        return [Path(self.values[name]) for name in self.inputs]


def plan_run(
    runner: Runner, parameters: Mapping[str, Any], folder: Path, pipeline: Path
) -> RunPlan:
    """Check the parameters and the folder of a run; write nothing.

    Raises:
        ConfigError: an unknown parameter or a wrong value; or the folder holds something else, a
            run that is done or in progress, or a run of another pipeline or of changed files.
    """
    values = checked_parameters(pipeline, parameters)
    inputs = {}
    for name in PATH_PARAMETERS:
        value = values.get(name)
        if value and "://" not in str(value):
            path = Path(str(value)).expanduser().absolute()
            values[name] = str(path)
            inputs[name] = path_state(path)
    plan = RunPlan(folder.absolute(), pipeline, runner, values, inputs, _earlier_run(folder))
    _require_idle(plan.folder)
    if plan.earlier is not None:
        _require_same_run(plan, plan.earlier)
    return plan


def new_run_folder(base: Path = Path("outputs")) -> Path:
    """Return a folder name that is not in use: <base>/<DATE>/<TIME>."""
    now = datetime.datetime.now()
    folder = base / now.strftime("%Y-%m-%d") / now.strftime("%H-%M-%S")
    count = 1
    while folder.exists():
        count += 1
        folder = folder.with_name(f"{now:%H-%M-%S}-{count}")
    return folder


@contextlib.contextmanager
def prepared_folder(plan: RunPlan) -> Iterator[None]:
    """Create the folder and its configurations; keep other runs out of it meanwhile.

    Raises:
        ConfigError: another run is using it.
    """
    for name in (ARTIFACTS, CONFIGS, LOGS):
        (plan.folder / name).mkdir(parents=True, exist_ok=True)
    with _locked(plan.folder):
        configs = plan.folder / CONFIGS
        shutil.copyfile(plan.pipeline, configs / PIPELINE_FILE)
        text = yaml.safe_dump(plan.values, sort_keys=True)
        (configs / "parameters.yaml").write_text(text, encoding="utf-8")
        yield


def link_training(folder: Path, step: str) -> None:
    """Link training's configuration and events where people look for them."""
    if step != "train":
        return
    config = folder / ARTIFACTS / step / "checkpoint" / "config.yaml"
    if config.is_file():
        shutil.copyfile(config, folder / CONFIGS / "training.yaml")
    if (folder / ARTIFACTS / step / "logs").is_dir():
        (folder / "tensorboard").unlink(missing_ok=True)
        (folder / "tensorboard").symlink_to(Path(ARTIFACTS, step, "logs"))


def _earlier_run(folder: Path) -> RunRecord | None:
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise ConfigError(str(folder), "a file", "a folder for the run")
    if (folder / FILE_NAME).is_file():
        record = RunRecord.read(folder)
        if record.state == "done":
            raise ConfigError(str(folder), "a run that is done", "a new folder for each run", _ANEW)
        # Nothing ran before the first step, so a changed export cannot mix with older results.
        return record if record.has_something_to_keep else None
    # A run that was stopped before its first step leaves these; they hold no user's files.
    ours = (STORE, LOCK, ARTIFACTS, CONFIGS, LOGS)
    if any(path.name not in ours for path in folder.iterdir()):
        raise ConfigError(str(folder), "a folder that is not empty", "a new one for each run")
    return None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                str(folder), "a run in progress", "one run at a time", _ANEW
            ) from None
        yield


def _require_idle(folder: Path) -> None:
    """Refuse a folder in use before anything, such as a store, starts in it."""
    if (folder / LOCK).is_file():
        with _locked(folder):
            pass


def _require_same_run(plan: RunPlan, earlier: RunRecord) -> None:
    """Refuse to continue a run with other inputs.

    Other parameters are allowed: the steps that use them run again, and all after them.
    """
    where = str(plan.folder)
    begun = plan.folder / CONFIGS / PIPELINE_FILE
    if begun.is_file() and begun.read_bytes() != plan.pipeline.read_bytes():
        raise ConfigError(where, "a run of another pipeline", "the same one", _ANEW)
    if earlier.runner != plan.runner:
        raise ConfigError(where, f"a run by runner {earlier.runner}", "the same one", _ANEW)
    for name, appearance in plan.inputs.items():
        is_same_path = earlier.parameters.get(name) == plan.values[name]
        if is_same_path and earlier.inputs.get(name) != appearance:
            raise ConfigError(
                where,
                f"a run on {plan.values[name]} before it was changed",
                "the same file to go on",
                _ANEW,
            )
