"""The network's input size: automatic, or as configured and checked."""

import pytest
from builders import ROAD, scenes, write_dataset
from hypothesis import given
from hypothesis import strategies as st

from components.train.configuration.compose import compose_config
from components.train.configuration.config import to_train_config
from components.train.input_size import auto_size, check_trainable, input_spec
from segmentor.dataset import Sample
from segmentor.errors import ConfigError
from segmentor.nn.network import NetworkConfig, build_network

SIDES = st.integers(8, 5000)


def sample(height: int, width: int) -> Sample:
    return Sample("a", "g", "", height, width, (1, 1), "png", "", "", "", 0, 0, 0, 0)


def test_kittis_photographs_give_the_road_presets_size():
    assert auto_size((sample(375, 1242),), 53248, 32) == (128, 416)


@given(height=SIDES, width=SIDES, stride=st.sampled_from([8, 16, 32]))
def test_the_automatic_size_is_whole_strides_and_about_the_budget(height, width, stride):
    size = auto_size((sample(height, width),), 53248, stride)
    assert size[0] % stride == size[1] % stride == 0
    assert min(size) >= stride
    # Rounding may add half a stride to each side; very thin images keep one stride.
    assert size[0] <= max(stride, height + stride / 2)
    assert (size[0] - stride) * (size[1] - stride) <= 53248


def spec_of(folder, *overrides: str):
    dataset = write_dataset(folder / "data", scenes(2, ROAD), ROAD)
    return input_spec(to_train_config(compose_config(overrides)), dataset, 32)


def test_a_size_that_is_no_multiple_of_the_stride_is_refused_with_one_that_is(tmp_path):
    with pytest.raises(ConfigError, match=r"set processing.size=\[128,416\]"):
        spec_of(tmp_path, "processing.size=[130,410]")


def test_a_network_that_returns_anything_but_logits_of_the_images_size_is_refused():
    network = build_network(NetworkConfig("fpn", "resnet18", {"upsampling": 2}), 1)
    with pytest.raises(ConfigError, match="model.options: an output of .2, 1, 32, 64."):
        check_trainable(network, (64, 128), 2, 1)
    check_trainable(build_network(NetworkConfig("fpn", "resnet18"), 1), (64, 128), 2, 1)
