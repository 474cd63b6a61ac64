"""Random, train-time augmentation: the one file that knows Albumentations."""

import inspect
import os
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

# Albumentations asks PyPI for a newer version at import otherwise.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations
import numpy as np
from numpy.typing import NDArray

from segmentor.errors import ConfigError
from segmentor.label_map import IGNORE_INDEX

WHERE = "processing.augmentation"
# Each transform is tried this often, for what it draws differs each time.
TRIES = 4
# Class indices of the mask in a trial: far apart, so that a mixture of both shows.
_TRIAL_CLASSES = (20, 200)


class Augmentation:
    """A pipeline of random transforms; the same seed and pixels give the same result.

    Albumentations ignores the seeds of NumPy and torch, and its workers repeat one another
    (2.0.8). So the generators are seeded anew for each sample, from the run's seed, the epoch and
    the sample: the result depends on neither the number of workers nor what came before. And each
    transform has a seed of its own: `Compose.set_random_seed` gives all of them the same one, so
    that those of equal probability happen together or not at all.
    """

    def __init__(self, transforms: Mapping[str, Any], crop: tuple[int, int] | None = None) -> None:
        """Build the pipeline.

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
        """Transform RGB uint8 (h, w, 3) and its mask uint8 (h, w) alike."""
        transforms = self._pipeline.transforms
        seeds = np.random.SeedSequence(seed).generate_state(len(transforms))
        for transform, own_seed in zip(transforms, seeds, strict=True):
            transform.set_random_seed(int(own_seed))
        result = self._pipeline(image=image, mask=mask)
        _check_arrays(WHERE, result["image"], result["mask"], self._crop or mask.shape[:2])
        return result["image"], result["mask"]


def try_transforms(transforms: Mapping[str, Any], size: tuple[int, int] | None) -> None:
    """Try each transform on a drawn image before anything is trained.

    Args:
        transforms: Arguments by class name.
        size: (height, width) of the images that it will get; None when the data set decides it.

    Raises:
        ConfigError: a transform fails, changes the size, the type or the channels of images, or
            gives masks other values than they had; with its name.
    """
    size = height, width = size or (256, 320)
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (height, width, 3), np.uint8)
    choice = generator.integers(0, 2, (height // 8 + 1, width // 8 + 1))
    blocks = np.array(_TRIAL_CLASSES, np.uint8)[choice]
    mask = np.ascontiguousarray(blocks.repeat(8, 0).repeat(8, 1)[:height, :width])
    for name, arguments in transforms.items():
        transform = _transform(name, {**arguments, "p": 1.0})
        pipeline = albumentations.Compose([transform])
        fills = {IGNORE_INDEX, *_TRIAL_CLASSES, _fill_of(arguments)}
        for seed in range(TRIES):
            transform.set_random_seed(seed)
            _try_once(f"{WHERE}.{name}", pipeline, (image, mask), size, fills)


def _try_once(
    where: str,
    pipeline: Any,
    pair: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    size: tuple[int, int],
    values: set[int],
) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = pipeline(image=pair[0].copy(), mask=pair[1].copy())
        image, mask = result["image"], result["mask"]
    except Exception as error:  # whatever Albumentations and OpenCV raise, the setting caused it
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(
            where,
            f"an image of {pair[1].shape[0]} x {pair[1].shape[1]} at which it fails ({reason})",
            "a transform of one image and its mask",
            "change its arguments, or leave it out",
        ) from error
    _check_arrays(where, image, mask, size)
    others = sorted({int(value) for value in np.unique(mask)} - values)
    if others:
        raise ConfigError(
            where,
            f"masks with values that they did not have ({', '.join(map(str, others[:5]))})",
            "class indices as they were",
            "leave it out, or set what it fills masks with to 255 (no ground truth)",
        )


def _check_arrays(where: str, image: Any, mask: Any, size: tuple[int, ...]) -> None:
    """Refuse anything but uint8 RGB and a uint8 mask of the same size."""
    kinds = [getattr(item, "dtype", type(item).__name__) for item in (image, mask)]
    if kinds != [np.uint8, np.uint8]:
        raise ConfigError(
            where,
            f"images of {kinds[0]} and masks of {kinds[1]} after it",
            "uint8, as they were",
            "leave it out; processing.mean and processing.std say how pixels are normalised",
        )
    if image.shape != (*mask.shape, 3):
        raise ConfigError(
            where,
            f"images of shape {image.shape} and masks of {mask.shape} after it",
            "RGB and a mask of the same size",
            "leave out transforms that change channels or images alone",
        )
    if mask.shape != size:
        raise ConfigError(
            where,
            f"images of {mask.shape[0]} x {mask.shape[1]} after augmentation",
            f"the size they had, {size[0]} x {size[1]}",
            "leave out transforms that crop, resize or turn by 90 degrees, or set processing.size "
            "to what they give",
        )


def _transform(name: str, arguments: Any) -> Any:
    where = f"{WHERE}.{name}"
    kind = getattr(albumentations, name, None)
    if not (isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform)):
        # Misspelt names were refused with the configuration; this is another class of the package.
        raise ConfigError(where, "no such transform", "a transform of Albumentations")
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    if _fills_masks(kind):
        # What a rotation uncovers has no ground truth; Albumentations calls it class 0.
        given.setdefault("fill_mask", IGNORE_INDEX)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ShiftScaleRotate and others recommend another one
            return kind(**given)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(where, f"{dict(arguments)} ({reason})", f"arguments of {name}") from error


@cache
def _fills_masks(kind: type) -> bool:
    """Return True if a transform gives uncovered pixels a class.

    Those that hide parts of the image (CoarseDropout, GridDropout, XYMasking, Erasing) default to
    None: their masks stay, so that the network learns to tell what is hidden.
    """
    fill = inspect.signature(kind.__init__).parameters.get("fill_mask")  # type: ignore[misc]
    return fill is not None and fill.default is not None


def _fill_of(arguments: Mapping[str, Any]) -> int:
    """Return the value that was asked for in uncovered or hidden pixels, if any."""
    for name in ("fill_mask", "mask_drop_value"):
        value = arguments.get(name)
        if isinstance(value, int | float):
            return int(value)
    return IGNORE_INDEX
