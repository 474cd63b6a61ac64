import numpy as np
import pytest
import torch
from builders import ROAD, STREET, TINY_NETWORK
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from segmentor.contract import InputSpec, ModelContract
from segmentor.label_map import LabelMap
from segmentor.nn.deployable import (
    Deployable,
    as_forward,
    resize_bilinear,
    softmax_of_channels,
)
from segmentor.nn.network import NetworkConfig, build_network


def deployable(label_map: LabelMap, spec: InputSpec) -> Deployable:
    torch.manual_seed(0)
    network = build_network(NetworkConfig.from_json(TINY_NETWORK), label_map.channels)
    return Deployable(network, ModelContract(label_map, spec)).eval()


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@settings(max_examples=50)
@given(
    source=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    target=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_the_gathering_resize_equals_interpolate(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    images = noise(2, *source, 3)
    expected = functional.interpolate(images.permute(0, 3, 1, 2).float(), target, mode="bilinear")
    assert torch.allclose(resize_bilinear(images, target), expected, atol=2e-3)


@given(
    classes=st.integers(2, 9),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    seed=st.integers(0, 100),
)
def test_the_softmax_of_channels_equals_torchs(classes: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 3, 5, generator=generator) * scale
    assert torch.allclose(softmax_of_channels(logits), logits.softmax(1), atol=1e-6)


def test_resize_answers_at_the_contracts_size_whatever_comes() -> None:
    module = deployable(ROAD, InputSpec((64, 96)))
    for size in ((1, 1), (97, 131), (200, 50)):
        with torch.no_grad():
            assert module(noise(2, *size, 3)).shape == (2, 1, 64, 96)


def test_native_answers_at_the_size_that_comes() -> None:
    module = deployable(STREET, InputSpec((64, 96), size_policy="native"))
    with torch.no_grad():
        assert module(noise(1, 50, 97, 3)).shape == (1, 3, 50, 97)


def test_an_image_of_the_trained_size_gives_the_same_under_both_policies() -> None:
    images = noise(1, 64, 96, 3)
    with torch.no_grad():
        resized = deployable(ROAD, InputSpec((64, 96)))(images)
        native = deployable(ROAD, InputSpec((64, 96), size_policy="native"))(images)
    assert torch.allclose(resized, native, atol=1e-6)


def test_pixels_are_normalised_by_mean_and_std_of_values_between_0_and_1() -> None:
    seen = []
    spec = InputSpec((32, 32), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1))
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    Deployable(network, ModelContract(ROAD, spec))(torch.full((1, 32, 32, 3), 255).byte())
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([1.0, 3.0, 1.0], abs=1e-6)


def test_probabilities_of_several_classes_sum_to_one() -> None:
    with torch.no_grad():
        probability = deployable(STREET, InputSpec((64, 96)))(noise(2, 64, 96, 3))
    assert probability.sum(1).numpy() == pytest.approx(np.ones((2, 64, 96)), abs=1e-5)


def test_forward_takes_read_only_arrays_and_leaves_training_mode() -> None:
    module = deployable(ROAD, InputSpec((64, 96))).train()
    forward = as_forward(module)
    images = noise(1, 10, 20, 3).numpy()
    images.flags.writeable = False
    assert forward(images).dtype == np.float32
    assert not module.training
