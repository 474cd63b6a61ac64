"""The record of a local run, run.json: steps, artifacts with their digests, parameters."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from segmentor.atomic_file import replace_file
from segmentor.errors import ContractError

SCHEMA_VERSION = 1
FILE_NAME = "run.json"

State = Literal["running", "done", "failed", "interrupted"]


@dataclass(frozen=True)
class StepRecord:
    """One step of a run; `log` is relative to the run folder, `error` is empty unless it failed.

    `command` is the digest of what was run, including its inputs.
    """

    name: str
    state: State
    seconds: float
    exit_code: int | None
    error: str
    log: str
    command: str = ""


@dataclass(frozen=True)
class ArtifactRecord:
    """One output artifact; `type` is KFP's (system.Dataset), `path` relative to the run folder."""

    step: str
    output: str
    type: str
    path: str
    digest: str
    metadata: dict[str, Any]

    @property
    def warnings(self) -> list[str]:
        """Return what the step warns about: the lines of the key `warnings`."""
        return [line for line in str(self.metadata.get("warnings", "")).splitlines() if line]


@dataclass(frozen=True)
class RunRecord:
    """One local run of a pipeline, in its folder.

    `started` is ISO 8601 with the offset, `versions` are those of the packages, and `inputs`
    describes the files that the parameters name.
    """

    folder: Path
    pipeline: str
    runner: str
    state: State
    started: str
    seconds: float
    parameters: dict[str, Any]
    versions: dict[str, str]
    steps: tuple[StepRecord, ...]
    artifacts: tuple[ArtifactRecord, ...]
    inputs: dict[str, str] = field(default_factory=dict)

    @property
    def has_something_to_keep(self) -> bool:
        """Return True if a run that continues in the folder can reuse this one."""
        return bool(self.steps) and self.steps[0].state == "done"

    def artifact(self, step: str, output: str) -> Path:
        """Return the path of an output artifact.

        Raises:
            ContractError: this run has no such artifact.
        """
        return self.folder / self.artifact_record(step, output).path

    def artifact_record(self, step: str, output: str) -> ArtifactRecord:
        """Return the record of an output artifact: type, digest, metadata.

        Raises:
            ContractError: this run has no such artifact.
        """
        for record in self.artifacts:
            if (record.step, record.output) == (step, output):
                return record
        raise ContractError(
            str(self.folder / FILE_NAME),
            f"no artifact {output} of step {step}",
            "a run in which that step is done",
        )

    def write(self) -> None:
        """Write run.json into the run folder."""
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        del content["folder"]  # the folder may be moved
        text = json.dumps(content, indent=2) + "\n"
        replace_file(self.folder / FILE_NAME, text.encode())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the record of a run folder.

        Raises:
            ContractError: no run.json, or one of another version.
        """
        path = folder / FILE_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = content.pop("schema_version")
            if found != SCHEMA_VERSION:
                raise ContractError(str(path), f"schema version {found}", str(SCHEMA_VERSION))
            steps = tuple(StepRecord(**step) for step in content.pop("steps"))
            artifacts = tuple(ArtifactRecord(**item) for item in content.pop("artifacts"))
            return cls(folder=folder.absolute(), steps=steps, artifacts=artifacts, **content)
        except FileNotFoundError:
            raise ContractError(
                str(folder), f"no {FILE_NAME}", "the folder of a run", "see outputs/"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ContractError(str(path), f"malformed content ({error!r})") from error


def read_run(folder: str | Path) -> RunRecord:
    """Read a run: its steps, parameters, and artifacts with their digests.

    Raises:
        ContractError: the folder holds no run.
    """
    return RunRecord.read(Path(folder))
