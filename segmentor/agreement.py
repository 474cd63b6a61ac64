"""How many pixels an engine changes of the masks that the evaluated model predicts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from segmentor.contract import ModelContract
from segmentor.errors import ContractError
from segmentor.golden_images import golden_mask
from segmentor.image_io import decode_index, encode_index
from segmentor.inference import Forward
from segmentor.model_samples import KeptSample
from segmentor.onnx_model import OnnxModel


def with_expected(model: OnnxModel, samples: Sequence[KeptSample]) -> list[KeptSample]:
    """Fill in the masks of the exact engine where none were published.

    Raises:
        ImageError: an image cannot be decoded.
    """
    filled = []
    for sample in samples:
        if sample.expected is None:
            mask = golden_mask(model.forward, model.contract, sample.image, sample.name)
            sample = replace(sample, expected=encode_index(mask))
        filled.append(sample)
    return filled


def flipped_fraction(
    forward: Forward, contract: ModelContract, samples: Sequence[KeptSample]
) -> float:
    """Return the share of pixels whose class is not the expected one.

    Args:
        forward: The engine.
        contract: Of the model.
        samples: With expected masks.

    Raises:
        ContractError: an expected mask is of another size than its image.
    """
    flipped = pixels = 0
    for sample in samples:
        expected = decode_index(sample.expected or b"", sample.name)
        mask = golden_mask(forward, contract, sample.image, sample.name)
        if expected.shape != mask.shape:
            raise ContractError(
                sample.name, f"a mask of {expected.shape}", f"{mask.shape}, as its image"
            )
        flipped += int(np.count_nonzero(expected != mask))
        pixels += mask.size
    return flipped / pixels
