"""What a run has reached, written whole after each epoch, so that a killed run continues.

    training_state.pt   last weights, optimizer, scheduler, progress; plain tensors and values
    best.safetensors    weights of the best epoch so far

The folder stands beside the checkpoint until that is written; a retry of the same command finds it.
"""

import io
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from segmentor.atomic_file import replace_file
from segmentor.errors import ContractError

logger = logging.getLogger(__name__)

STATE = "training_state.pt"
BEST = "best.safetensors"
SCHEMA_VERSION = 1


@dataclass
class Progress:
    """How far a run is: epochs done, the best one, and the figures of each."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = float("nan")
    without_better: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `asdict` wrote."""
        return cls(**{**value, "history": [dict(item) for item in value["history"]]})


@dataclass(frozen=True)
class PartialEpoch:
    """An epoch that was broken off after some batches: counts so far, and the generators."""

    batches: int
    confusion: Tensor
    loss: Tensor
    generators: list[Tensor]


@dataclass(frozen=True)
class RunningState:
    """Everything a run needs to continue as if it had never stopped.

    `fingerprint` is the digest of configuration and data: only the same run continues silently.
    """

    fingerprint: str
    epochs: int
    bf16: bool
    architecture: str
    network_digest: str
    progress: Progress
    counters: dict[str, int]
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any] | None
    partial: PartialEpoch | None = None


def save_state(folder: Path, state: RunningState, best: Mapping[str, Tensor] | None) -> None:
    """Write the state; `best` are the weights when this epoch is the best so far.

    The best weights come first: a kill between the two files leaves the state of the epoch before,
    which is then done again, with the same result.
    """
    if best is not None:
        tensors = {name: value.detach().cpu().contiguous() for name, value in best.items()}
        replace_file(folder / BEST, save(tensors))
    # In memory first: torch and safetensors hide what the system said, such as a full disk.
    content = io.BytesIO()
    torch.save({"schema_version": SCHEMA_VERSION, **_plain(state)}, content)
    replace_file(folder / STATE, content.getbuffer())


def load_state(folder: Path) -> RunningState | None:
    """Read a state; None when there is none.

    Raises:
        ContractError: the file is damaged, or of another version.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
        if value.pop("schema_version") != SCHEMA_VERSION:
            raise ContractError(str(path), "another schema version", str(SCHEMA_VERSION))
        partial = value.pop("partial")
        value["partial"] = None if partial is None else PartialEpoch(**partial)
        return RunningState(**{**value, "progress": Progress.from_json(value["progress"])})
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise _damaged(path, error) from error
    except Exception as error:
        # pickle and zipfile raise their own kinds; all mean a file that is not ours.
        if type(error).__module__ in ("_pickle", "pickle", "zipfile"):
            raise _damaged(path, error) from error
        raise


def load_best(folder: Path) -> dict[str, Tensor]:
    """Read the weights of the best epoch.

    Raises:
        ContractError: there are none, or the file is damaged.
    """
    try:
        return dict(load_file(folder / BEST))
    except (OSError, SafetensorError) as error:
        raise _damaged(folder / BEST, error) from error


def _plain(state: RunningState) -> dict[str, Any]:
    """Return the state as a mapping of plain values; tensors are not copied."""
    partial = None if state.partial is None else state.partial.__dict__
    return {**state.__dict__, "progress": asdict(state.progress), "partial": partial}


def _damaged(path: Path, error: Exception) -> ContractError:
    reason = " ".join(str(error).split())[:120] or repr(error)
    return ContractError(
        str(path),
        f"unreadable ({reason})",
        "a state of this version",
        "delete it to start from the beginning",
    )


def get_generators() -> list[Tensor]:
    """Return the states of the CPU's generator and of each GPU's."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return states


def set_generators(states: list[Tensor]) -> None:
    """Set what `get_generators` returned."""
    torch.set_rng_state(states[0])
    if torch.cuda.is_available() and len(states) == 1 + torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states[1:])
