"""Steps that were done in an earlier run of the same folder: kept, or cleared to run again."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.local.step_runner import StepCommand
from segmentor.digests import digest_file, digest_json, digest_tree
from segmentor.run_record import ArtifactRecord, RunRecord, StepRecord


@dataclass(frozen=True)
class KeptStep:
    """A step that need not run again, and its artifacts."""

    record: StepRecord
    artifacts: list[ArtifactRecord]


class KeptSteps:
    """Finds the steps of an earlier run that need not run again.

    A step is kept when its command is the same, inputs included, and its outputs are as recorded.
    Once one step has to run, all later ones run too, because they may depend on it.
    """

    def __init__(self, earlier: RunRecord | None) -> None:
        """Take the record of the earlier run; None keeps nothing."""
        self._earlier = earlier
        self._is_over = earlier is None

    def find(self, command: StepCommand) -> KeptStep | None:
        """Return the step if it is kept; None when it has to run."""
        kept = None if self._is_over else self._look_up(command)
        self._is_over = kept is None
        return kept

    def _look_up(self, command: StepCommand) -> KeptStep | None:
        assert self._earlier is not None
        digest = command_digest(command)
        for record in self._earlier.steps:
            if (record.name, record.state, record.command) == (command.step, "done", digest):
                made = [item for item in self._earlier.artifacts if item.step == record.name]
                is_whole = all(_is_as_recorded(command.folder, item) for item in made)
                return KeptStep(record, made) if is_whole else None
        return None


def command_digest(command: StepCommand) -> str:
    """Return the identity of a command: image, arguments (inputs among them), environment."""
    arguments = [_value(argument) for argument in command.command]
    return digest_json([command.image, arguments, command.environment])


def artifact_digest(path: Path) -> str:
    """Return the digest of an artifact, a file or a folder."""
    return digest_tree(path) if path.is_dir() else digest_file(path)


def clear_for_a_new_attempt(task_root: Path, log: Path) -> None:
    """Remove what an earlier attempt at a step wrote; its log gets another name.

    Hidden files stay: steps such as training keep the state there from which they resume.
    """
    task_root.mkdir(parents=True, exist_ok=True)
    for path in task_root.iterdir():
        if path.name.startswith("."):
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if log.is_file():
        log.replace(log.with_suffix(".earlier.log"))


def _value(argument: str) -> Any:
    """Read JSON: protobuf writes the keys of an ExecutorInput in another order in each process."""
    if not argument.startswith("{"):
        return argument
    try:
        return json.loads(argument)
    except ValueError:
        return argument


def _is_as_recorded(folder: Path, artifact: ArtifactRecord) -> bool:
    path = folder / artifact.path
    return path.exists() and artifact_digest(path) == artifact.digest
