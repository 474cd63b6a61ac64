"""Pictures of what a model did: image, truth, prediction and error side by side."""

import cv2
import numpy as np
from numpy.typing import NDArray

from components.evaluate.evaluation import Evaluation
from segmentor.inference import decode_for, mask_at
from segmentor.label_map import IGNORE_INDEX, LabelMap
from segmentor.masks import brightened, overlay, resize_mask

# Pictures of the report are scaled down to this width.
PICTURE_WIDTH = 480

GAP = 6  # white pixels between the pictures of a sheet

INVENTED = (224, 49, 49)
MISSED = (28, 110, 235)
WRONG = (224, 49, 49)
IGNORED = (255, 255, 255)

Picture = tuple[str, NDArray[np.uint8]]


def error_legend(label_map: LabelMap) -> list[tuple[str, tuple[int, int, int]]]:
    """Return what the colours of the error picture mean."""
    if label_map.is_binary:
        name = label_map.names[1]
        return [
            (f"{name} predicted, not true", INVENTED),
            (f"{name} true, not predicted", MISSED),
            ("no ground truth", IGNORED),
        ]
    return [("another class predicted", WRONG), ("no ground truth", IGNORED)]


def error_picture(
    image: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    label_map: LabelMap,
) -> NDArray[np.uint8]:
    """Mark wrong pixels over the greyed image; all arguments have one size (H, W)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    picture = np.repeat((grey // 2 + 64)[:, :, None], 3, axis=2)
    valid = truth != IGNORE_INDEX
    wrong = valid & (truth != prediction)
    if label_map.is_binary:
        picture[wrong & (prediction == 1)] = INVENTED
        picture[wrong & (truth == 1)] = MISSED
    else:
        picture[wrong] = WRONG
    picture[~valid] = IGNORED
    return picture.astype(np.uint8, copy=False)


def picture_rows(evaluation: Evaluation, positions: tuple[int, ...]) -> list[Picture]:
    """Run the model again on these images; four pictures of each, captioned."""
    samples = evaluation.dataset.samples
    return [
        picture
        for position in positions
        for picture in _four(evaluation, position, samples[position].id)
    ]


def example_sheet(evaluation: Evaluation) -> NDArray[np.uint8] | None:
    """Return the worst and the best image, one row each; None without ground truth."""
    ranked = evaluation.ranked
    rows = []
    for position in dict.fromkeys((*ranked[:1], *ranked[-1:])):
        pictures = [pixels for _, pixels in picture_rows(evaluation, (position,))]
        gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
        rows.append(np.concatenate([part for p in pictures for part in (p, gap)][:-1], axis=1))
    width = max((row.shape[1] for row in rows), default=0)
    padded = [
        cv2.copyMakeBorder(
            row, 0, GAP, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255)
        )
        for row in rows
    ]
    return np.concatenate(padded).astype(np.uint8) if padded else None


def _four(evaluation: Evaluation, position: int, sample_id: str) -> list[Picture]:
    contract, dataset = evaluation.contract, evaluation.dataset
    sample = dataset.samples[position]
    pixels, size = decode_for(contract, dataset.image_content(sample), sample_id)
    prediction = mask_at(evaluation.forward(pixels[None])[0], contract, size)
    truth = dataset.mask(sample)
    height, width = size
    shown = (max(1, round(height * min(1, PICTURE_WIDTH / width))), min(width, PICTURE_WIDTH))
    image = cv2.resize(pixels, shown[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    image = brightened(image)
    truth, prediction = resize_mask(truth, shown), resize_mask(prediction, shown)
    scores = evaluation.images[position]
    label_map = contract.label_map
    # Ignored pixels have no truth: show the image there.
    drawn = overlay(image, truth, label_map)
    drawn[truth == IGNORE_INDEX] = image[truth == IGNORE_INDEX]
    return [
        (f"{sample_id}: IoU {scores.iou_score:.4f}, Dice loss {scores.dice_loss:.4f}", image),
        ("truth", drawn),
        ("prediction", overlay(image, prediction, label_map)),
        ("error", error_picture(image, truth, prediction, label_map)),
    ]
