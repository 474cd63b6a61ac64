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

from pipelines.local_orchestrator import ARTIFACTS, LOGS
from pipelines.parameters import checked_parameters
from pipelines.run_record import FILE_NAME, RunRecord
from segmentor.digests import digest_json
from segmentor.errors import ConfigError
from segmentor.object_store import is_object_uri

Runner = Literal["host", "docker"]

CONFIGS = "configs"
PIPELINE_FILE = "pipeline.yaml"
# An embedded object store may run here already: its data belong to the run.
STORE = "store"
LOCK = ".lock"
PATH_PARAMETERS = ("source", "images", "label_map")
_ANEW = "leave out --output for a new folder"


@dataclass(frozen=True)
class RunPlan:
    """A run before it starts; `earlier` is the one that goes on, if the folder holds one.

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
        """What differs from the earlier run's parameters, a text each: 'min_iou 0.9 -> 0.8'."""
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
    """Checks what a run is asked for and where it is to lie; writes nothing.

    Raises:
        ConfigError: an unknown parameter or a wrong value; or the folder holds something else, a
            run that is done or going on, or one of another pipeline or of files that were changed.
    """
    values = checked_parameters(pipeline, parameters)
    inputs = {}
    for name in PATH_PARAMETERS:
        value = values.get(name)
        if value and not is_object_uri(str(value)):
            path = Path(str(value)).expanduser().absolute()
            values[name] = str(path)
            inputs[name] = _appearance(path)
    plan = RunPlan(folder.absolute(), pipeline, runner, values, inputs, _earlier_run(folder))
    _require_idle(plan.folder)
    if plan.earlier is not None:
        _require_same_run(plan, plan.earlier)
    return plan


def new_run_folder(base: Path = Path("outputs")) -> Path:
    """Returns a folder name that is not in use: <base>/<DATE>/<TIME>."""
    now = datetime.datetime.now()
    folder = base / now.strftime("%Y-%m-%d") / now.strftime("%H-%M-%S")
    count = 1
    while folder.exists():
        count += 1
        folder = folder.with_name(f"{now:%H-%M-%S}-{count}")
    return folder


@contextlib.contextmanager
def prepared_folder(plan: RunPlan) -> Iterator[None]:
    """Makes the folder and its configurations; keeps other runs out of it meanwhile.

    Raises:
        ConfigError: a run is going on in it.
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
    """Shows training's configuration and events where people look for them."""
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
        # Mending a first step may mean a changed export; there is nothing it could be mixed with.
        return record if record.has_something_to_keep else None
    # Left by a run that was stopped before its first step; nothing of a person is in them.
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
                str(folder), "a run that is going on", "one at a time", _ANEW
            ) from None
        yield


def _require_idle(folder: Path) -> None:
    """Refuses a folder in use before anything, such as a store, starts in it."""
    if (folder / LOCK).is_file():
        with _locked(folder):
            pass


def _require_same_run(plan: RunPlan, earlier: RunRecord) -> None:
    """Refuses to go on with something else than what was begun.

    Other parameters are no obstacle: the steps that take them run again, and all after them.
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


def _appearance(path: Path) -> str:
    """Tells whether a file or folder was changed, as make does: by names, sizes and times."""
    if not path.is_dir():
        return _stamp(path) if path.exists() else "missing"
    files = (entry for entry in path.rglob("*") if entry.is_file())
    return digest_json(sorted([str(file.relative_to(path)), _stamp(file)] for file in files))


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} bytes, {status.st_mtime_ns}"
