"""Padding by constants instead of by the size of the input."""

import pytest
import segmentation_models_pytorch as smp
import torch
from timm.layers import Conv2dSame

from segmentor.nn.network import NetworkConfig, build_network, network_stride


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [
        ("unet", "tu-tf_efficientnet_lite0"),
        ("deeplabv3plus", "tu-tf_efficientnet_lite0"),  # dilated
        ("unet", "tu-tf_mixnet_s"),  # kernels of 3 to 11
    ],
)
def test_the_network_computes_the_same_and_draws_the_same_weights(architecture, encoder):
    torch.manual_seed(0)
    theirs = smp.create_model(architecture, encoder, encoder_weights=None, classes=2).eval()
    drawn_next = torch.rand(1)
    torch.manual_seed(0)
    ours = build_network(NetworkConfig(architecture, encoder), 2).eval()
    assert torch.equal(torch.rand(1), drawn_next)
    assert any(type(module) is Conv2dSame for module in theirs.modules())
    assert not any(isinstance(module, Conv2dSame) for module in ours.modules())
    weights = theirs.state_dict()
    assert weights.keys() == ours.state_dict().keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in ours.state_dict().items())
    stride = network_stride(ours)
    with torch.inference_mode():
        for height, width in ((1, 1), (2, 3), (5, 4)):
            image = torch.rand(2, 3, height * stride * 2, width * stride * 2)
            assert torch.equal(ours(image), theirs(image))
