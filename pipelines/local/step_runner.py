"""The interface of a runner, which executes one container command of a pipeline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class StepCommand:
    """One container command with its placeholders resolved.

    `folder` is where the run's artifacts lie, at the same path inside a container; `log` takes all
    that the command writes.
    """

    step: str
    image: str
    command: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    log: Path


class StepRunner(Protocol):
    """Run commands, maybe several at once from several threads."""

    def run(self, step: StepCommand) -> int:
        """Run a command to its end and return its exit code; a signal's is 128 + its number."""
        ...

    def stop(self) -> None:
        """Stop every running command; later ones do not start."""
        ...
