"""Depthwise convolutions leave autocast; networks that oneDNN breaks are not channels-last."""

import copy
import subprocess
import sys

import pytest
import segmentation_models_pytorch as smp
import torch

from components.train.machine import choose_bf16, keep_depthwise_float32, memory_format
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


# Strided 1 x 1 convolutions of fewer than 16 channels, whose backward pass oneDNN breaks.
BROKEN = {f"mobileone_s{k}" for k in range(5)}


def test_the_encoders_that_onednn_breaks_are_not_channels_last():
    found = set()
    for name in (name for name in smp.encoders.encoders if not name.startswith("timm-")):
        with torch.device("meta"):
            try:
                encoder = smp.encoders.get_encoder(name, weights=None)
            except (ValueError, RuntimeError, NotImplementedError):
                continue  # cannot be built at all, or not without memory
        if memory_format(encoder, "cpu") is torch.contiguous_format:
            found.add(name)
        assert memory_format(encoder, "cuda") is torch.channels_last
    assert found == BROKEN


@pytest.mark.parametrize(("encoder", "is_broken"), [("tu-repvgg_a0", True), ("tu-resnet18", False)])
def test_encoders_of_timm_are_looked_into_too(encoder, is_broken):
    network = build_network(NetworkConfig("unet", encoder), 1)
    assert (memory_format(network, "cpu") is torch.contiguous_format) == is_broken


_STEPS = """
import sys
import torch
from components.train.machine import memory_format
from segmentor.nn.network import NetworkConfig, build_network

torch.manual_seed(0)
network = build_network(NetworkConfig("unet", "mobileone_s0", {"decoder_channels": [16] * 5}), 1)
kept = memory_format(network, "cpu")
network = network.to(memory_format=kept)
for _ in range(6):
    network(torch.rand(2, 3, 64, 96).contiguous(memory_format=kept)).sum().backward()
blocks = [torch.empty(1000 * n) for n in range(1, 60)]
sys.exit(not all(p.grad is None or p.grad.isfinite().all() for p in network.parameters()))
"""


def test_such_a_network_trains():
    subprocess.run([sys.executable, "-c", _STEPS], check=True, timeout=200)
