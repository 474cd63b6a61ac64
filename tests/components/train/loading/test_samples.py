"""What the network sees in training is what it sees when it is served; augmentation is random."""

from collections import Counter

import numpy as np
import pytest
import torch
from builders import ROAD, draw_scene, scenes, write_dataset

from components.train.augmentation import Augmentation
from components.train.loading.samples import EpochSampler, SampleCache, TorchSamples, read_pair
from segmentor.contract import InputSpec, ModelContract
from segmentor.dataset import Dataset
from segmentor.dataset_writer import DatasetWriter
from segmentor.errors import ConfigError
from segmentor.image_io import encode_jpeg
from segmentor.inference import decode_for
from segmentor.label_map import IGNORE_INDEX
from segmentor.nn.deployable import Deployable

FLIP = {"HorizontalFlip": {"p": 0.5}}
TURN = {"Affine": {"p": 1.0, "rotate": [40, 40]}}


@pytest.mark.parametrize("source", [(64, 96), (97, 131), (31, 400), (512, 640)])
def test_training_sees_the_pixels_that_the_deployed_graph_computes(source, tmp_path):
    size = (64, 96)
    image, mask = draw_scene(3, source)
    with DatasetWriter(tmp_path, ROAD, {}) as writer:
        # A JPEG: the large one is decoded at a reduced scale, by both.
        sample = writer.add("a", encode_jpeg(image), (mask == 1).astype(np.uint8), "g")
    dataset = Dataset(tmp_path)
    pixels, _ = read_pair(dataset, sample, size)
    contract = ModelContract(ROAD, InputSpec(size))
    seen = []
    module = Deployable(torch.nn.Identity(), contract)
    module.network.register_forward_hook(lambda *call: seen.append(call[2]))
    decoded, _ = decode_for(contract, dataset.image_content(sample))
    module(torch.from_numpy(np.array(decoded))[None])
    spec = contract.input
    own = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255  # (3, h, w)
    own = (own - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)
    # Half a grey level, from rounding to uint8 for the cache and the augmentation.
    half_level = 0.5 / 255 / min(spec.std)
    assert (seen[0][0] - own).abs().max() <= half_level * 1.01


def cache_of(tmp_path, limit: int, size=(32, 64)) -> SampleCache:
    dataset = write_dataset(tmp_path / "data", scenes(4, ROAD), ROAD)
    return SampleCache(dataset, list(dataset.samples), size, limit, tmp_path)


def test_a_full_memory_moves_the_cache_to_disk_and_changes_nothing(tmp_path):
    memory = cache_of(tmp_path, 1 << 30)
    disk = SampleCache(memory.dataset, memory.samples, (32, 64), 100, tmp_path)
    assert list(tmp_path.glob("cache-*.bin"))
    for index in range(4):
        for one, other in zip(memory.pair(index), disk.pair(index), strict=True):
            np.testing.assert_array_equal(one, other)


def test_images_of_several_sizes_keep_them_under_the_native_policy(tmp_path):
    samples = [*scenes(1, ROAD, (40, 60)), *scenes(1, ROAD, (50, 30), first_seed=1)]
    dataset = write_dataset(tmp_path / "data", iter(samples), ROAD)
    cache = SampleCache(dataset, list(dataset.samples), None, 1 << 30, tmp_path)
    for index, (_, image, mask, _) in enumerate(samples):
        np.testing.assert_array_equal(cache.pair(index)[0], image)
        np.testing.assert_array_equal(cache.pair(index)[1], mask)


def test_augmentation_depends_on_seed_epoch_and_sample_alone(tmp_path):
    cache = cache_of(tmp_path, 1 << 30)
    make = lambda seed: TorchSamples(cache, Augmentation({**FLIP, **TURN}), seed)  # noqa: E731
    first, again = make(0), make(0)
    again[3, 2], again[1, 0]  # what came before does not matter
    assert torch.equal(first[5, 1]["image"], again[5, 1]["image"])
    flips = [[bool(torch.equal(make(s)[e, 0]["image"], first[0, 0]["image"])) for e in range(12)]
             for s in (0, 1)]  # fmt: skip
    assert 0 < sum(flips[0]) < 12
    assert flips[0] != flips[1]


def test_transforms_are_drawn_independently_of_one_another():
    """Compose.set_random_seed gives all one seed: two flips came together or not at all."""
    flips = Augmentation({"HorizontalFlip": {"p": 0.5}, "VerticalFlip": {"p": 0.5}})
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    mask = np.zeros((4, 6), np.uint8)
    turned = [(image[::v, ::h].tobytes()) for v in (1, -1) for h in (1, -1)]
    found = Counter(turned.index(flips(image, mask, (0, 1, k))[0].tobytes()) for k in range(400))
    # 100 of each; four standard deviations are 35.
    assert all(65 <= found[kind] <= 135 for kind in range(4)), found


def test_workers_neither_repeat_one_another_nor_earlier_epochs(tmp_path):
    """Albumentations 2.0.8 by itself fails this: all workers draw the same numbers every epoch."""
    cache = cache_of(tmp_path, 1 << 30)
    sampler = EpochSampler(4, 0, is_shuffled=False)
    noise = Augmentation({"GaussNoise": {"p": 1.0}})

    def draws(workers: int) -> list[torch.Tensor]:
        loader = torch.utils.data.DataLoader(
            TorchSamples(cache, noise, 0), batch_size=1, sampler=sampler, num_workers=workers
        )
        found = []
        for epoch in (1, 2):
            sampler.start(epoch)
            for batch in loader:
                plain = torch.from_numpy(cache.pair(int(batch["index"]))[0]).permute(2, 0, 1)
                found.append(batch["image"].int() - plain)
        return found

    alone, two = draws(0), draws(2)
    assert all(torch.equal(a, b) for a, b in zip(alone, two, strict=True))
    assert all(not torch.equal(two[i], two[j]) for i in range(len(two)) for j in range(i))


def test_the_order_of_samples_changes_with_the_epoch_and_holds_each_once():
    sampler = EpochSampler(50, 7, is_shuffled=True)
    orders = []
    for epoch in (1, 2, 1):
        sampler.start(epoch)
        orders.append([index for _, index in sampler])
    assert sorted(orders[0]) == list(range(50))
    assert orders[0] == orders[2] != orders[1]


def test_what_a_rotation_uncovers_has_no_ground_truth():
    image, mask = draw_scene(0)
    _, turned = Augmentation(TURN)(image, mask, (0,))
    assert turned[0, 0] == IGNORE_INDEX


def test_a_crop_larger_than_the_image_is_padded_without_ground_truth():
    image, mask = draw_scene(0, (20, 30))
    cropped, truth = Augmentation({}, (32, 64))(image, mask, (0,))
    assert cropped.shape == (32, 64, 3)
    assert (truth == IGNORE_INDEX).sum() == 32 * 64 - 20 * 30


def test_an_augmentation_that_changes_the_size_is_refused():
    image, mask = draw_scene(0, (32, 64))
    with pytest.raises(ConfigError, match="after augmentation"):
        Augmentation({"Transpose": {"p": 1.0}})(image, mask, (0,))
