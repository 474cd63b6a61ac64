"""From data sets and configuration to a trained network: builds the run, and runs it."""

import contextlib
import logging
import math
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import torch
from torch import nn

from components.train import catalyst_compat as compat
from components.train.class_balance import class_weights
from components.train.configuration.config import AUTO, NONE, TrainConfig, TrainingSettings
from components.train.encoder_weights import load_encoder_weights
from components.train.input_size import check_trainable, input_spec
from components.train.loading.loaders import make_loaders
from components.train.losses import SegmentationLoss, default_terms
from components.train.machine import (
    choose_bf16,
    choose_device,
    keep_depthwise_float32,
    keep_freed_memory,
    memory_errors,
    memory_format,
    set_threads,
)
from components.train.network_weights import load_network_weights
from components.train.optimization import make_optimizer, make_scheduler
from components.train.processes import is_first, wait_for_all
from components.train.resolution import (
    ClassAtSize,
    measure_resolution,
    warn_of_lost_classes,
)
from components.train.run import Run
from components.train.runner import SegmentationRunner
from components.train.state.running_state import Progress, RunningState, load_best
from segmentor.contract import InputSpec
from segmentor.dataset import Dataset
from segmentor.nn.exportability import require_exportable
from segmentor.nn.network import NetworkConfig, build_network, network_stride

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """The result: the network with the weights of its best epoch, and how it got there."""

    network: nn.Module
    network_config: NetworkConfig
    input: InputSpec
    progress: Progress
    timings: list[tuple[int, float]]
    bf16: bool
    device: str
    at_size: list[ClassAtSize] = field(default_factory=list)


@dataclass(frozen=True)
class Places:
    """Folders of a run: state to continue from, TensorBoard events, scratch for the cache."""

    state: Path
    logs: Path
    scratch: Path


def train(
    config: TrainConfig,
    train_set: Dataset,
    val_set: Dataset,
    places: Places,
    fingerprint: str,
    resumed: RunningState | None = None,
    after_save: Callable[[bool], None] | None = None,
) -> Trained:
    """Train as configured.

    Args:
        config: The configuration.
        train_set: To learn from.
        val_set: To choose the best epoch on; of the same label map.
        places: Existing folders.
        fingerprint: Identity of the run, kept with its state.
        resumed: State to continue from.
        after_save: Called when a state is on disk, with whether the process is about to end.

    Returns:
        The network with the weights of its best epoch; in other processes than the first, the last.

    Raises:
        ConfigError: settings that do not go together.
        TrainingError: a loss that is not finite, or no memory left.
    """
    device = choose_device(config.training.device)
    set_threads()
    if device == "cpu":
        keep_freed_memory()
    network_config, network, spec = make_network(config, train_set, device, resumed is not None)
    at_size = []
    if is_first():
        at_size = measure_resolution(train_set, spec)
        warn_of_lost_classes(at_size, spec.size)
    run = make_run(config, (train_set, val_set), network, spec, places, fingerprint, resumed)
    run.after_save = after_save
    runner = SegmentationRunner(run)
    with memory_errors(config.training.batch_size, spec.size), stopping_between_batches(run):
        runner.run()
    wait_for_all()
    network = run.engine.unwrap_model(runner.model)
    if is_first():  # the others may be on machines that have no such file, and write nothing
        network.load_state_dict(load_best(places.state))
    return Trained(
        network=network.to("cpu").eval(),
        network_config=network_config,
        input=spec,
        progress=runner.progress,
        timings=run.timings,
        bf16=run.bf16,
        device=device,
        at_size=at_size,
    )


@contextlib.contextmanager
def stopping_between_batches(run: Run) -> Iterator[None]:
    """While the loop runs, SIGTERM ends it after the batch; `keep_state.StopOnSignal` saves."""

    def stop(signum: int, frame: FrameType | None) -> None:
        run.is_stopping = True

    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread alone
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def make_network(
    config: TrainConfig, train_set: Dataset, device: str, is_resumed: bool
) -> tuple[NetworkConfig, nn.Module, InputSpec]:
    """Build the network on its device, with its encoder's weights, and decide its input."""
    torch.manual_seed(config.seed)
    model = config.model
    network_config = NetworkConfig(model.architecture, model.encoder, model.options)
    network = build_network(network_config, train_set.label_map.channels)
    spec = input_spec(config, train_set, network_stride(network))
    require_exportable(network, network_config, spec.size_policy)
    if not is_resumed:
        if model.weights != NONE:
            load_network_weights(network, model.weights)
        else:
            load_encoder_weights(network, model.encoder, model.encoder_weights)
    network = network.to(device).to(memory_format=memory_format(network, device))
    with memory_errors(config.training.batch_size, spec.size):
        batch_size = min(config.training.batch_size, len(train_set))
        check_trainable(network, spec.size, batch_size, train_set.label_map.channels)
    return network_config, network, spec


def make_run(
    config: TrainConfig,
    data_sets: tuple[Dataset, Dataset],
    network: nn.Module,
    spec: InputSpec,
    places: Places,
    fingerprint: str,
    resumed: RunningState | None,
) -> Run:
    """Build what the loop works with."""
    settings = config.training
    device = next(network.parameters()).device
    # An interrupted run goes on as it was begun; a checkpoint is trained further as asked for now.
    is_same_run = resumed is not None and resumed.fingerprint == fingerprint
    if resumed is not None and is_same_run:
        bf16 = resumed.bf16
    else:
        bf16 = choose_bf16(device.type, settings.precision)
    if bf16 and device.type == "cpu":
        keep_depthwise_float32(network)
    loaders = make_loaders(config, *data_sets, spec, places.scratch, device.type)
    engine = compat.make_engine(device.type)
    optimizer = make_optimizer(network, settings)
    batches = math.ceil(len(loaders.by_key["train"]) / engine.num_processes)
    done = resumed.progress.epoch if resumed is not None and not is_same_run else 0
    scheduler = make_scheduler(optimizer, settings, (settings.epochs - done) * batches)
    if resumed is not None and not is_same_run:
        resumed = with_new_schedule(resumed, optimizer)
    run = Run(
        config=config,
        label_map=data_sets[0].label_map,
        spec=spec,
        network=network,
        loss=make_loss(settings, data_sets[0]),
        optimizer=optimizer,
        scheduler=scheduler,
        loaders=loaders.by_key,
        sampler=loaders.sampler,
        sample_ids=loaders.sample_ids,
        engine=engine,
        memory_format=memory_format(network, device.type),
        bf16=bf16,
        fingerprint=fingerprint,
        state_folder=places.state,
        logs=places.logs,
        resumed=resumed,
    )
    if is_first():
        log_start(run)
    return run


def make_loss(settings: TrainingSettings, train_set: Dataset) -> SegmentationLoss:
    """Return the loss of the settings, with its class weights from the training set."""
    is_binary = train_set.label_map.is_binary
    terms = default_terms(is_binary) if settings.loss == AUTO else settings.loss
    assert isinstance(terms, dict)
    return SegmentationLoss(terms, is_binary, class_weights(settings.class_weights, train_set))


def log_start(run: Run) -> None:
    """One line of what is about to be trained."""
    logger.info(
        "training device=%s precision=%s size=%dx%d train_images=%d val_images=%d parameters=%d",
        run.engine.device,
        "bf16" if run.bf16 else "fp32",
        *run.spec.size,
        len(run.sample_ids["train"]),
        len(run.sample_ids["valid"]),
        sum(parameter.numel() for parameter in run.network.parameters()),
    )


def with_new_schedule(resumed: RunningState, optimizer: torch.optim.Optimizer) -> RunningState:
    """Return the state of a finished run that is trained further.

    The old schedule ended where the old run did, so a new one spans the epochs that are left. The
    optimizer keeps its moments; its rates, decay and momentum are those that are set now.
    """
    fresh = optimizer.state_dict()["param_groups"]
    optimizer_state = {"state": resumed.optimizer["state"], "param_groups": fresh}
    return replace(resumed, scheduler=None, optimizer=optimizer_state)
