"""Random, train-time augmentation: the one file that knows Albumentations."""

import inspect
import os
import warnings
from collections.abc import Mapping
from typing import Any

# Albumentations asks PyPI for a newer version at import otherwise.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations
import numpy as np
from numpy.typing import NDArray

from segmentor.errors import ConfigError
from segmentor.label_map import IGNORE_INDEX


class Augmentation:
    """A pipeline of random transforms; the same seed and pixels give the same result.

    Albumentations ignores the seeds of NumPy and torch, and its workers repeat one another
    (2.0.8). So the generators are seeded anew for each sample, from the run's seed, the epoch and
    the sample: the result depends on neither the number of workers nor what came before. And each
    transform has a seed of its own: `Compose.set_random_seed` gives all of them the same one, so
    that those of equal probability happen together or not at all.
    """

    def __init__(self, transforms: Mapping[str, Any], crop: tuple[int, int] | None = None) -> None:
        """Builds the pipeline.

        Args:
            transforms: Arguments by class name of Albumentations, in order.
            crop: (height, width) of a random crop that comes first; smaller images are padded,
                and the padding has no ground truth.

        Raises:
            ConfigError: no such transform, or arguments that it does not take.
        """
        steps = [_transform(name, arguments) for name, arguments in transforms.items()]
        self._crop = crop
        if crop is not None:
            height, width = crop
            steps.insert(
                0,
                albumentations.RandomCrop(
                    height, width, pad_if_needed=True, fill=0, fill_mask=IGNORE_INDEX
                ),
            )
        self._pipeline = albumentations.Compose(steps)

    def __call__(
        self, image: NDArray[np.uint8], mask: NDArray[np.uint8], seed: tuple[int, ...]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Transforms RGB uint8 (h, w, 3) and its mask uint8 (h, w) alike."""
        transforms = self._pipeline.transforms
        seeds = np.random.SeedSequence(seed).generate_state(len(transforms))
        for transform, own_seed in zip(transforms, seeds, strict=True):
            transform.set_random_seed(int(own_seed))
        result = self._pipeline(image=image, mask=mask)
        if result["mask"].shape != (self._crop or mask.shape):
            height, width = result["mask"].shape
            raise ConfigError(
                "processing.augmentation",
                f"images of {height} x {width} after augmentation",
                f"the size they had, {mask.shape[0]} x {mask.shape[1]}",
                "leave out transforms that crop, resize or turn by 90 degrees",
            )
        return result["image"], result["mask"]


def _transform(name: str, arguments: Any) -> Any:
    where = f"processing.augmentation.{name}"
    kind = getattr(albumentations, name, None)
    if not (isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform)):
        # Misspelt names were refused with the configuration; this is another class of the package.
        raise ConfigError(where, "no such transform", "a transform of Albumentations")
    if not isinstance(arguments, Mapping):
        raise ConfigError(where, f"{arguments!r}", "arguments, such as {p: 0.5}")
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    if "fill_mask" in inspect.signature(kind.__init__).parameters:
        # What a rotation uncovers has no ground truth; Albumentations calls it class 0.
        given.setdefault("fill_mask", IGNORE_INDEX)
    try:
        with warnings.catch_warnings():
            # An unknown argument is only a warning there: a typing error would go unnoticed.
            warnings.simplefilter("error")
            return kind(**given)
    except (ValueError, TypeError, UserWarning) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(where, f"{dict(arguments)} ({reason})", f"arguments of {name}") from error
