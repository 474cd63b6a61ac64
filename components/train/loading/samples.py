"""Samples for training: decoded and resized once, kept in memory or on disk, then augmented."""

import itertools
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from components.train.augmentation import Augmentation
from segmentor.dataset import Dataset, Sample
from segmentor.label_map import IGNORE_INDEX
from segmentor.masks import resize_mask
from segmentor.nn.deployable import resize_bilinear
from segmentor.pixel_conversion import WHITE
from segmentor.progress import track

logger = logging.getLogger(__name__)

# Samples that are decoded while they wait to be stored.
AT_ONCE = 16
# Samples that are announced together.
ANNOUNCED = 16

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def read_pair(
    dataset: Dataset, sample: Sample, size: tuple[int, int] | None, white: int = WHITE
) -> Pair:
    """Read an image and its mask as the network will see them.

    The resize is the deployed graph's own (bilinear, no antialias), rounded to uint8.

    Args:
        dataset: Where the sample is.
        sample: Which.
        size: (height, width) of the `resize` policy; None keeps the source's size.
        white: See `decode_image`.

    Returns:
        RGB uint8 (h, w, 3) and mask uint8 (h, w).

    Raises:
        ImageError: either cannot be decoded.
    """
    image, mask = dataset.image(sample, size, white), dataset.mask(sample)
    if size is None:
        return image, mask
    pixels = resize_bilinear(torch.from_numpy(np.array(image))[None], size)[0]  # (3, h, w)
    resized = pixels.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return resized, resize_mask(mask, size)


class SampleCache:
    """All pairs of a data set in one flat buffer: memory up to a limit, else a file."""

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        size: tuple[int, int] | None,
        limit_bytes: int,
        folder: Path,
        white: int = WHITE,
    ) -> None:
        """Decode everything, with a progress line.

        Args:
            dataset: Where the samples are.
            samples: Which of them, in the order of their indices here.
            size: See `read_pair`.
            limit_bytes: What may be kept in memory; more goes to a file in `folder`, and if the
                disk has no room either, each sample is decoded whenever it is needed.
            folder: For the file; it is the caller's to remove.
            white: See `decode_image`.
        """
        self.dataset, self.samples, self.size, self.white = dataset, samples, size, white
        sizes = ([size] * len(samples)) if size else [sample.size for sample in samples]
        self._sizes = np.array(sizes, np.int32).reshape(-1, 2)
        pixels = self._sizes.prod(axis=1, dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(pixels * 4)])
        self._buffer = self._make_buffer(int(self._starts[-1]), limit_bytes, folder)
        if self._buffer is not None:
            with ThreadPoolExecutor(max_workers=2) as pool:
                pairs = self._pairs(pool)
                for index, pair in enumerate(track(pairs, "decode images", len(samples))):
                    self._store(index, pair)

    def __len__(self) -> int:
        return len(self.samples)

    def _pairs(self, pool: ThreadPoolExecutor) -> Iterator[Pair]:
        """Decode everything in its order, a few samples at a time."""

        def decoded(sample: Sample) -> Pair:
            return read_pair(self.dataset, sample, self.size, self.white)

        ahead = self.dataset.read_ahead(self.samples)
        while batch := list(itertools.islice(ahead, AT_ONCE)):
            yield from pool.map(decoded, batch)

    def prefetch(self, indices: Iterable[int]) -> None:
        """Begin to fetch samples that will be asked for soon, if they are not kept here."""
        if self._buffer is None:
            self.dataset.prefetch(self.samples[index] for index in indices)

    def pair(self, index: int) -> Pair:
        """Return image and mask; views of the cache, not to be written to."""
        if self._buffer is None:
            return read_pair(self.dataset, self.samples[index], self.size, self.white)
        height, width = self._sizes[index].tolist()
        start, end = self._starts[index], self._starts[index + 1]
        middle = start + height * width * 3
        image = self._buffer[start:middle].reshape(height, width, 3)
        return image, self._buffer[middle:end].reshape(height, width)

    def _store(self, index: int, pair: Pair) -> None:
        assert self._buffer is not None
        flat = np.concatenate([pair[0].ravel(), pair[1].ravel()])
        self._buffer[self._starts[index] : self._starts[index + 1]] = flat

    def _make_buffer(self, size: int, limit: int, folder: Path) -> NDArray[np.uint8] | None:
        if size <= limit:
            return np.empty(size, np.uint8)
        free = shutil.disk_usage(folder).free
        if size < 0.8 * free:
            logger.info("cache place=disk bytes=%d limit_bytes=%d", size, limit)
            path = folder / f"cache-{id(self):x}.bin"
            return np.memmap(path, np.uint8, "w+", shape=(size,))
        logger.warning("cache place=none bytes=%d free_bytes=%d", size, free)
        return None


class TorchSamples(torch.utils.data.Dataset[dict[str, Any]]):
    """What the loader draws from; the key is (epoch, index), so that workers share no state."""

    def __init__(
        self,
        cache: SampleCache,
        augmentation: Augmentation | None,
        seed: int = 0,
        pad_to: int | None = None,
    ) -> None:
        """Wrap a cache.

        Args:
            cache: The pairs.
            augmentation: For training; None for validation.
            seed: Of the run.
            pad_to: Pads right and bottom to multiples of this, without ground truth there.
        """
        self.cache, self.augmentation, self.seed, self.pad_to = cache, augmentation, seed, pad_to

    def __len__(self) -> int:
        return len(self.cache)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Return the samples of a batch, all of which are fetched at once."""
        self.cache.prefetch(index for _, index in keys)
        return [self[key] for key in keys]

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Return `image` uint8 (3, h, w), `mask` int64 (h, w), and `index`."""
        epoch, index = key
        image, mask = self.cache.pair(index)
        if self.augmentation is not None:
            image, mask = self.augmentation(image, mask, (self.seed, epoch, index))
        if self.pad_to is not None:
            bottom, right = -mask.shape[0] % self.pad_to, -mask.shape[1] % self.pad_to
            image = np.pad(image, ((0, bottom), (0, right), (0, 0)))
            mask = np.pad(mask, ((0, bottom), (0, right)), constant_values=IGNORE_INDEX)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "mask": torch.from_numpy(mask.astype(np.int64)),
            "index": index,
        }


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index): a permutation that follows from seed and epoch alone."""

    def __init__(
        self,
        count: int,
        seed: int,
        is_shuffled: bool,
        multiple: int = 1,
        announce: Callable[[list[int]], None] | None = None,
    ) -> None:
        """Make the sampler.

        Args:
            count: How many samples there are.
            seed: Of the permutations.
            is_shuffled: False yields them in order.
            multiple: An epoch has a multiple of this many: a last, smaller batch would upset batch
                normalisation. Other samples are left out in each epoch.
            announce: Is told which samples come soon, before they are asked for.
        """
        self.count, self.seed, self.is_shuffled = count, seed, is_shuffled
        self.announce = announce
        self.length = count // multiple * multiple if count >= multiple else count
        self.epoch = self.skipped = 0

    def start(self, epoch: int, skipped: int = 0) -> None:
        """Set the epoch of the next iteration, and how many of its samples are done already.

        It is not called `set_epoch`, because accelerate calls that with a count of its own.
        """
        self.epoch, self.skipped = epoch, skipped

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.count)
        if self.is_shuffled:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        coming = order[self.skipped : self.length]
        for start in range(0, len(coming), ANNOUNCED):
            if self.announce is not None:
                first = start + ANNOUNCED if start else 0
                self.announce(coming[first : start + 2 * ANNOUNCED].tolist())
            yield from ((self.epoch, int(index)) for index in coming[start : start + ANNOUNCED])
