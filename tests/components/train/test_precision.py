"""Depthwise convolutions leave autocast, and nothing else of the network changes."""

import copy

import torch

from components.train.precision import choose_bf16, keep_depthwise_float32
from segmentor.nn.network import NetworkConfig, build_network

CONFIG = NetworkConfig("unet", "tu-mobilenetv3_small_050", {"decoder_channels": [16, 16, 8, 8, 8]})


def test_depthwise_convolutions_compute_in_float32_and_the_rest_does_not():
    network = build_network(CONFIG, 1)
    keep_depthwise_float32(network)
    kinds = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda module, inputs, output, name=name: kinds.__setitem__(name, output.dtype)
            )
    with torch.autocast("cpu", torch.bfloat16):
        network.eval()(torch.rand(1, 3, 64, 64))
    depthwise = {
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Conv2d) and module.groups > 1
    }
    assert depthwise
    assert {name for name, kind in kinds.items() if kind == torch.float32} == depthwise


def test_weights_names_copies_and_results_stay():
    torch.manual_seed(0)
    network = build_network(CONFIG, 1).eval()
    pixels = torch.rand(1, 3, 64, 64)
    expected, names = network(pixels), list(network.state_dict())
    keep_depthwise_float32(network)
    assert list(network.state_dict()) == names
    assert torch.equal(network(pixels), expected)
    again = copy.deepcopy(network)
    for value in again.parameters():
        value.data.zero_()
    assert torch.equal(network(pixels), expected)


def test_a_setting_is_obeyed():
    assert choose_bf16("cpu", "bf16")
    assert not choose_bf16("cpu", "fp32")
