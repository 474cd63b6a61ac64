"""What runs one container command of a pipeline: the seam that the host and docker runners fill."""

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
    """Runs commands, maybe several at once from several threads."""

    def run(self, step: StepCommand) -> int:
        """Runs a command to its end and returns its exit code; a signal's is 128 + its number."""
        ...

    def stop(self) -> None:
        """Stops every running command; later ones do not start."""
        ...
