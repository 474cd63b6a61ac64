"""Runs a checkpoint over the test set, the way it will be served, and keeps the counts."""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from components.evaluate.scoring import ImageScores, score_image
from segmentor.calibration import BINS, count_confidence
from segmentor.contract import ModelContract
from segmentor.cpus import available_cpus
from segmentor.dataset import Dataset, Sample
from segmentor.errors import ContractError, DataError, Problem
from segmentor.inference import Forward, decode_for, mask_at, probability_at
from segmentor.label_map import IGNORE_INDEX
from segmentor.metrics import ClassScores, class_scores, dataset_iou
from segmentor.nn.checkpoint import checkpoint_digest, load_checkpoint
from segmentor.nn.deployable import as_forward
from segmentor.progress import track
from segmentor.seen_data import seen_data_notice
from segmentor.thresholds import STEPS, count_levels
from segmentor.tiling import tiled

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)  # hashed by identity, so that derived values can be cached
class Evaluation:
    """Everything that was measured, and what is needed to run an image again.

    `network` names architecture and encoder.
    `levels` are the counts for the threshold sweep (binary models; all zero otherwise),
    `confidence` those for calibration.
    """

    checkpoint_digest: str
    network: str
    contract: ModelContract
    dataset: Dataset
    images: tuple[ImageScores, ...]
    levels: NDArray[np.int64]
    confidence: NDArray[np.float64]
    forward: Forward

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """The confusion matrix of the whole set: int64 (K, K), rows truth, columns prediction."""
        total: NDArray[np.int64] = np.stack([i.confusion for i in self.images]).sum(axis=0)
        return total

    @cached_property
    def scores(self) -> ClassScores:
        """Scores per class of the whole set."""
        return class_scores(self.confusion)

    @property
    def iou(self) -> float:
        """The IoU of class 1 when binary, else the mean over the classes with true pixels."""
        return dataset_iou(self.confusion, self.contract.is_binary)

    @property
    def not_measured(self) -> tuple[str, ...]:
        """The classes without true pixels in the set."""
        names = self.contract.label_map.names
        return tuple(n for n, count in zip(names, self.scores.support, strict=True) if not count)

    @property
    def never_predicted(self) -> tuple[str, ...]:
        """The classes that the set holds and the model predicted for no pixel."""
        names, predicted = self.contract.label_map.names, self.confusion.sum(axis=0)
        return tuple(
            name
            for name, true, count in zip(names, self.scores.support, predicted, strict=True)
            if true and not count
        )

    @cached_property
    def ranked(self) -> tuple[int, ...]:
        """Positions of the images with ground truth, worst first; equal ones by name."""
        scored = [i for i, image in enumerate(self.images) if not np.isnan(image.iou_score)]
        return tuple(sorted(scored, key=lambda i: (self.images[i].iou_score, self.images[i].id)))


def evaluate(checkpoint_folder: Path, test: Path, threads: int = 0) -> Evaluation:
    """Run the checkpoint over every image of the test set, one at a time, at its source size.

    Args:
        checkpoint_folder: A checkpoint artifact.
        test: A data set artifact with the checkpoint's classes.
        threads: CPU threads; 0 takes those this process may use.

    Raises:
        ContractError: an input is no artifact, or the classes differ.
        DataError: the test set is empty, or holds images that cannot be read.
    """
    dataset = Dataset(test)
    checkpoint = load_checkpoint(checkpoint_folder)
    contract, config = checkpoint.contract, checkpoint.network_config
    contract.check_classes(dataset.label_map, str(test))
    if not len(dataset):
        raise DataError(str(test), "no samples", "at least one", "give the test set a larger ratio")
    seen = seen_data_notice(contract, dataset.digest)
    if seen:
        logger.warning("%s", seen)
    torch.set_num_threads(threads or available_cpus())
    # As the predictor runs it: large images of a native model in tiles.
    forward = tiled(as_forward(checkpoint.deployable()), contract)
    images = []
    levels = np.zeros((2, STEPS + 1), np.int64)
    confidence = np.zeros((3, BINS))
    problems = []
    for sample in track(dataset.read_ahead(dataset), "evaluate", len(dataset)):
        try:
            scores, level_counts, confidence_counts = _measure(sample, dataset, contract, forward)
        except DataError as error:
            problems.append(Problem.of(sample.id, error))
            continue
        images.append(scores)
        levels += level_counts
        confidence += confidence_counts
    if problems:
        raise DataError.collected(str(test), problems)
    return Evaluation(
        checkpoint_digest=checkpoint_digest(checkpoint_folder),
        network=f"{config.architecture} with {config.encoder}",
        contract=contract,
        dataset=dataset,
        images=tuple(images),
        levels=levels,
        confidence=confidence,
        forward=forward,
    )


def _measure(
    sample: Sample, dataset: Dataset, contract: ModelContract, forward: Forward
) -> tuple[ImageScores, NDArray[np.int64], NDArray[np.float64]]:
    truth = dataset.mask(sample)
    pixels, size = decode_for(contract, dataset.image_content(sample), sample.id)
    if size != truth.shape:
        raise DataError(sample.id, f"mask of {truth.shape}", f"the image's size {size}")
    probability = forward(pixels[None])[0]  # (C, h, w)
    if not np.isfinite(probability).all():
        raise ContractError(
            sample.id,
            "a probability that is not finite",
            "0..1",
            "train again: the weights are bad",
        )
    prediction = mask_at(probability, contract, size)
    scores = score_image(sample.id, sample.group, pixels, truth, prediction, probability, contract)
    confidence = count_confidence(probability, truth, prediction, contract)
    if not contract.is_binary:
        return scores, np.zeros((2, STEPS + 1), np.int64), confidence
    plane = probability_at(probability, size)[0]
    return scores, count_levels(plane, truth == 1, truth != IGNORE_INDEX), confidence
