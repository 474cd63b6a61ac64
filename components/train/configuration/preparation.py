"""What can be refused without torch, whose import takes seconds: settings, files and data sets."""

import argparse
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.train.class_balance import class_pixels, class_weights, require_classes
from components.train.configuration.compose import compose_config, split_overrides
from components.train.configuration.config import (
    AUTO,
    TrainConfig,
    to_train_config,
)
from components.train.configuration.weight_places import start_digest
from components.train.losses import kind_of, require_losses, weighted_losses
from segmentor import __version__
from segmentor.dataset import Dataset
from segmentor.digests import digest_json
from segmentor.errors import ConfigError, ContractError, DataError, TrainingError
from segmentor.image_io import highest_16_bit_value
from segmentor.object_uri import ObjectUri
from segmentor.plurals import counted
from segmentor.training_mirror import mirror_key, mirrors_of

logger = logging.getLogger(__name__)

# Images in which the range of 16-bit files is looked for.
LOOKED_AT = 20
# These change how a run is executed, not its result.
_WITHOUT_INFLUENCE = ("cache_bytes", "workers", "overlays", "mirror", "mirror_minutes")


@dataclass(frozen=True)
class Job:
    """What is to be trained on what: checked as far as it can be without torch.

    `weights_digest` is that of a file or object with the encoder's weights; empty without one.
    `destination` and `cache_salt` say where the mirror of a pod is: they change no result.
    `processes`: how many train together.
    """

    composed: dict[str, Any]
    config: TrainConfig
    train_set: Dataset
    val_set: Dataset
    resume: Path | None
    weights_digest: str
    destination: str = ""
    cache_salt: str = ""
    processes: int = 1

    @property
    def fingerprint(self) -> str:
        """The identity of the run: what decides its result."""
        kept = self.composed["training"].items()
        training = {key: value for key, value in kept if key not in _WITHOUT_INFLUENCE}
        contract = self.resume / "contract.json" if self.resume is not None else None
        return digest_json(
            {
                "config": {**self.composed, "training": training},
                "train": self.train_set.digest,
                "val": self.val_set.digest,
                "resume": contract.read_text("utf-8") if contract and contract.is_file() else "",
                "encoder_weights": self.weights_digest,
                "version": __version__,
                # Each takes a batch: several do not go on from the state of one.
                **({"processes": self.processes} if self.processes > 1 else {}),
            }
        )

    @property
    def folder(self) -> ObjectUri:
        """Where the training is in the object store, beside the models of `destination`."""
        key = mirror_key(self.fingerprint, self.cache_salt)
        return mirrors_of(self.destination).child(key)


def prepare(arguments: argparse.Namespace) -> Job:
    """Read the command line's configuration and data sets.

    Raises:
        SegmentorError: of the kind that fits; whatever is wrong with them.
    """
    composed = compose_config(split_overrides(arguments.train_overrides, arguments.override))
    config = to_train_config(composed)
    if arguments.resume is not None and not arguments.resume.is_dir():
        raise ContractError(str(arguments.resume), "no such folder", "a checkpoint to go on from")
    train_set, val_set = Dataset(arguments.train), Dataset(arguments.val)
    check_data_sets(train_set, val_set)
    check_settings(config, train_set)
    warn_of_dark_files(train_set, config.processing.white)
    digest = start_digest(config.model)
    return Job(
        composed,
        config,
        train_set,
        val_set,
        arguments.resume,
        digest,
        arguments.destination,
        arguments.cache_salt,
        int(os.environ.get("WORLD_SIZE", "1")),
    )


def check_data_sets(train_set: Dataset, val_set: Dataset) -> None:
    """Refuse data sets that nothing can be learned from, or that do not belong together.

    Raises:
        DataError: other classes.
        TrainingError: no samples, a class that train lacks, or no ground truth in val.
    """
    if train_set.label_map != val_set.label_map:
        raise DataError(
            "val data set",
            f"classes {', '.join(val_set.label_map.names)}",
            f"those of the train data set: {', '.join(train_set.label_map.names)}",
            "split one converted data set",
        )
    for name, dataset in (("train", train_set), ("val", val_set)):
        if not len(dataset):
            raise TrainingError(f"{name} data set", "no samples", "at least one", "check split")
    require_classes(train_set)
    _check_truth(val_set)
    seen = {sample.image_digest for sample in train_set.samples}
    both = [sample.id for sample in val_set.samples if sample.image_digest in seen]
    if both:
        # Not an error: an overfitting check may do it on purpose.
        logger.warning(
            "val images that are in train too count=%d first=%s: val figures will be too good",
            len(both),
            both[0],
        )


def _check_truth(val_set: Dataset) -> None:
    """Refuse a val set on which nothing can be measured; warn where the IoU cannot."""
    pixels = class_pixels(val_set)
    if not sum(pixels):
        raise TrainingError(
            "val data set",
            f"no labelled pixel in {counted(len(val_set), 'image')}",
            "ground truth to choose the best epoch by",
            "split with another seed, or label them",
        )
    if val_set.label_map.is_binary and not pixels[1]:
        logger.warning(
            "val has no true pixels of %s: its loss alone decides which epoch is the best",
            val_set.label_map.names[1],
        )


def check_settings(config: TrainConfig, train_set: Dataset) -> None:
    """Refuse settings that do not go with the classes of the data set.

    Raises:
        ConfigError: losses of another kind of network, class weights that no loss takes, or not
            one for each class.
    """
    training, is_binary = config.training, train_set.label_map.is_binary
    class_weights(training.class_weights, train_set)
    if training.loss == AUTO:
        return
    assert not isinstance(training.loss, str)
    require_losses(training.loss, is_binary)
    kind = kind_of(is_binary)
    weighted = weighted_losses(kind)
    if training.class_weights != "none" and not set(training.loss) & set(weighted):
        raise ConfigError(
            "training.class_weights",
            f"{training.class_weights}, and no loss that takes them",
            f"{' or '.join(weighted)} in training.loss of a {kind} network",
            "add one of them, or set training.class_weights=none",
        )


def warn_of_dark_files(train_set: Dataset, white: int) -> None:
    """Warn of 16-bit files that use a small part of what `processing.white` says, or more.

    Cameras write 10, 12 or 14 bits into files of 16: read as 0..65535 such images are black.
    """
    files = [s for s in train_set.samples if s.extension.lower() in ("png", "tif", "tiff")]
    highest = [
        value
        for sample in files[:: max(1, len(files) // LOOKED_AT)][:LOOKED_AT]
        if (value := highest_16_bit_value(train_set.image_content(sample), sample.id)) is not None
    ]
    if highest and (max(highest) <= white // 4 or max(highest) > white):
        fitting = next(bits for bits in (8, 10, 12, 14, 16) if max(highest) < 1 << bits)
        logger.warning(
            "16-bit images hold 0..%d and processing.white is %d: %s; set processing.white=%d",
            max(highest),
            white,
            "brighter pixels are cut off" if max(highest) > white
            else f"{max(highest) * 255 // white + 1} of 256 grey levels are left",
            (1 << fitting) - 1,
        )  # fmt: skip
