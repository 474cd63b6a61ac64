"""What one run of training works with; everything is built before the loop starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from components.train.configuration.config import TrainConfig
from components.train.loading.samples import EpochSampler
from components.train.losses import SegmentationLoss
from components.train.state.running_state import RunningState
from segmentor.contract import InputSpec
from segmentor.label_map import LabelMap


@dataclass
class Run:
    """What the loop works with; everything is built before it starts."""

    config: TrainConfig
    label_map: LabelMap
    spec: InputSpec
    network: nn.Module
    loss: SegmentationLoss
    optimizer: torch.optim.Optimizer
    scheduler: Any | None
    loaders: dict[str, DataLoader[Any]]
    sampler: EpochSampler
    sample_ids: Mapping[str, list[str]]
    engine: Any
    memory_format: torch.memory_format
    bf16: bool
    fingerprint: str
    state_folder: Path
    logs: Path
    resumed: RunningState | None = None
    after_save: Callable[[bool], None] | None = None
    timings: list[tuple[int, float]] = field(default_factory=list)
    is_stopping: bool = False  # set by SIGTERM: save after this batch, and end
