"""What a model did with an image, for eyes: image, truth, prediction and error side by side."""

import cv2
import numpy as np
from numpy.typing import NDArray

from components.evaluate.evaluation import Evaluation
from segmentor.inference import decode_for, mask_at
from segmentor.label_map import IGNORE_INDEX, LabelMap
from segmentor.masks import overlay, resize_mask

# Pictures of the report are scaled down to this width.
PICTURE_WIDTH = 480

INVENTED = (224, 49, 49)
MISSED = (28, 110, 235)
WRONG = (224, 49, 49)
IGNORED = (255, 255, 255)

Picture = tuple[str, NDArray[np.uint8]]


def error_legend(label_map: LabelMap) -> list[tuple[str, tuple[int, int, int]]]:
    """What the colours of the error picture mean."""
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
    """Marks wrong pixels over the greyed image; all arguments have one size (H, W)."""
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
    return picture


def picture_rows(evaluation: Evaluation, positions: tuple[int, ...]) -> list[Picture]:
    """Runs the model again on these images; four pictures of each, captioned."""
    samples = evaluation.dataset.samples
    return [
        picture
        for position in positions
        for picture in _four(evaluation, position, samples[position].id)
    ]


def _four(evaluation: Evaluation, position: int, sample_id: str) -> list[Picture]:
    contract, dataset = evaluation.contract, evaluation.dataset
    sample = dataset.samples[position]
    pixels, size = decode_for(contract, dataset.image_content(sample), sample_id)
    prediction = mask_at(evaluation.forward(pixels[None])[0], contract, size)
    truth = dataset.mask(sample)
    height, width = size
    shown = (max(1, round(height * min(1, PICTURE_WIDTH / width))), min(width, PICTURE_WIDTH))
    image = cv2.resize(pixels, shown[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    truth, prediction = resize_mask(truth, shown), resize_mask(prediction, shown)
    scores = evaluation.images[position]
    label_map = contract.label_map
    # Ignored pixels are not truth: they stay as the image shows them.
    drawn = overlay(image, truth, label_map)
    drawn[truth == IGNORE_INDEX] = image[truth == IGNORE_INDEX]
    return [
        (f"{sample_id}: IoU {scores.iou_score:.4f}, Dice loss {scores.dice_loss:.4f}", image),
        ("truth", drawn),
        ("prediction", overlay(image, prediction, label_map)),
        ("error", error_picture(image, truth, prediction, label_map)),
    ]
