"""How sure a model is of an image: the mean over its pixels."""

import numpy as np
from numpy.typing import NDArray

from segmentor.inference import Forward
from segmentor.ranking.images import margins


class Uncertainty:
    """Watches a Forward while it runs on one image.

    Attributes:
        forward: The same Forward.
    """

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._sum = 0.0
        self._pixels = 0

    def forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the model; RGB uint8 (N, H, W, 3) -> probability float32 (N, C, h, w)."""
        probability = self._forward(images)
        for single in probability:
            doubt = 1 - margins(single)
            self._sum += float(doubt.sum(dtype=np.float64))
            self._pixels += doubt.size
        return probability

    def value(self) -> float:
        """Return the mean of 1 - margin, 0..1, at the network's resolution."""
        return self._sum / max(1, self._pixels)
