"""Pictures of masks over images, small enough for TensorBoard and the training report."""

import cv2
import numpy as np
from numpy.typing import NDArray

from segmentor.label_map import LabelMap
from segmentor.masks import brightened, overlay, resize_mask

# The longer side. Photographs of 12 megapixels would be gigabytes of TensorBoard events, and a
# report that the pipelines UI does not open.
LONGEST = 800


def draw(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], label_map: LabelMap
) -> NDArray[np.uint8]:
    """Overlay a mask, both brought down to LONGEST: RGB uint8 (h, w, 3)."""
    height, width = mask.shape
    scale = min(1.0, LONGEST / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if size != (height, width):
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
        mask = resize_mask(mask, size)
    return overlay(brightened(np.ascontiguousarray(image)), np.ascontiguousarray(mask), label_map)
