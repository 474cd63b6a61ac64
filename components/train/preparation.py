"""What can be refused without torch, whose import takes seconds: settings, files and data sets."""

import argparse
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.train.class_balance import class_pixels, class_weights, require_classes
from components.train.compose import compose_config, split_overrides
from components.train.config import (
    AUTO,
    ENCODER_WEIGHTS,
    TrainConfig,
    require_losses,
    to_train_config,
)
from segmentor import __version__
from segmentor.dataset import Dataset
from segmentor.digests import digest_file, digest_json
from segmentor.errors import ConfigError, ContractError, DataError, TrainingError
from segmentor.object_store import ObjectStore, ObjectUri, is_object_uri

logger = logging.getLogger(__name__)

# These change how a run goes, not what comes out.
_WITHOUT_INFLUENCE = ("cache_bytes", "workers", "overlays", "mirror", "mirror_minutes")


@dataclass(frozen=True)
class Job:
    """What is to be trained on what: checked as far as it can be without torch.

    `weights_digest` is that of a file or object with the encoder's weights; empty without one.
    """

    composed: dict[str, Any]
    config: TrainConfig
    train_set: Dataset
    val_set: Dataset
    resume: Path | None
    weights_digest: str

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
            }
        )


def prepare(arguments: argparse.Namespace) -> Job:
    """Reads the command line's configuration and data sets.

    Raises:
        SegmentorError: of the kind that fits; whatever is wrong with them.
    """
    composed = compose_config(split_overrides(arguments.overrides, arguments.override))
    config = to_train_config(composed)
    if arguments.resume is not None and not arguments.resume.is_dir():
        raise ContractError(str(arguments.resume), "no such folder", "a checkpoint to go on from")
    train_set, val_set = Dataset(arguments.train), Dataset(arguments.val)
    check_data_sets(train_set, val_set)
    check_settings(config, train_set)
    digest = weights_digest(config.model.encoder_weights)
    return Job(composed, config, train_set, val_set, arguments.resume, digest)


def check_data_sets(train_set: Dataset, val_set: Dataset) -> None:
    """Refuses data sets that nothing can be learned from, or that do not belong together.

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
    """Refuses a val set on which nothing can be measured; warns where the IoU cannot."""
    pixels = class_pixels(val_set)
    if not sum(pixels):
        raise TrainingError(
            "val data set",
            f"no labelled pixel in {len(val_set)} images",
            "ground truth to choose the best epoch by",
            "split with another seed, or label them",
        )
    if val_set.label_map.is_binary and not pixels[1]:
        logger.warning(
            "val has no true pixels of %s: its loss alone decides which epoch is the best",
            val_set.label_map.names[1],
        )


def check_settings(config: TrainConfig, train_set: Dataset) -> None:
    """Refuses settings that do not go with the classes of the data set.

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
    weighted = ("bce",) if is_binary else ("cross_entropy", "dice", "focal")
    if training.class_weights != "none" and not set(training.loss) & set(weighted):
        kind = "a binary" if is_binary else "several classes'"
        raise ConfigError(
            "training.class_weights",
            f"{training.class_weights}, and no loss that takes them",
            f"{' or '.join(weighted)} in training.loss of {kind} network",
            "add one of them, or set training.class_weights=none",
        )


def weights_digest(source: str) -> str:
    """The digest of the file or object with the encoder's weights; empty for named sources.

    Other content under the same name is another run: an interrupted one must not go on with it.

    Raises:
        ConfigError: no such file, or a folder.
        StoreError: no such object, or no store.
    """
    if source in ENCODER_WEIGHTS:
        return ""
    if is_object_uri(source):
        with tempfile.TemporaryDirectory() as folder:
            path, uri = Path(folder) / "weights", ObjectUri.parse(source)
            store = ObjectStore.from_environment()
            is_prefix = not uri.key or uri.key.endswith("/")
            if is_prefix or (not store.exists(uri) and any(store.list_keys(uri))):
                raise ConfigError(
                    "model.encoder_weights", f"'{source}': a folder", "the URI of one file"
                )
            store.download(uri, path)
            return digest_file(path)
    if not Path(source).is_file():
        raise ConfigError(
            "model.encoder_weights",
            f"'{source}': no such file",
            f"{', '.join(ENCODER_WEIGHTS)}, a file, or an s3:// URI",
        )
    return digest_file(Path(source))
