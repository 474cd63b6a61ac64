"""Every architecture is built by name, takes a training step, and comes back from a checkpoint."""

import pytest
import torch
from builders import STREET

from segmentor.contract import InputSpec, ModelContract
from segmentor.errors import ConfigError
from segmentor.nn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from segmentor.nn.network import NetworkConfig, build_network, network_stride
from segmentor.nn.network_names import architectures, likely_stride

# The rest takes the first encoder; DPT and Segformer are made for transformers.
ENCODERS = {"dpt": "tu-test_vit", "segformer": "mit_b0"}
OPTIONS = {
    "dpt": {"decoder_intermediate_channels": [8, 16, 16, 16], "decoder_fusion_channels": 16},
    "upernet": {"decoder_channels": 32},
}
SIZES = {"dpt": (160, 160), "pan": (128, 128)}


@pytest.mark.parametrize("architecture", architectures())
def test_it_takes_a_step_and_comes_back_from_a_checkpoint(architecture, tmp_path):
    encoder = ENCODERS.get(architecture, "tu-test_resnet")
    config = NetworkConfig(architecture, encoder, OPTIONS.get(architecture, {}))
    size = SIZES.get(architecture, (64, 64))
    network = build_network(config, STREET.channels)
    stride = network_stride(network)
    assert size[0] % stride == 0
    # What the configuration is checked by, before there is a network.
    assert likely_stride(architecture, config.options) == (
        None if architecture == "dpt" else stride
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    logits = network.train()(torch.rand(2, 3, *size))
    assert logits.shape == (2, STREET.channels, *size)
    logits.square().mean().backward()
    optimizer.step()
    contract = ModelContract(STREET, InputSpec(size, stride=stride))
    model = {"architecture": architecture, "encoder": encoder, "options": config.options}
    save_checkpoint(tmp_path, Checkpoint(network, config, contract, {"model": model}))
    pixels = torch.randint(0, 256, (1, 50, 60, 3), dtype=torch.uint8)
    read = load_checkpoint(tmp_path)
    with torch.inference_mode():
        again = read.deployable()(pixels)
        expected = Checkpoint(network.eval(), config, contract, {}).deployable()(pixels)
    assert torch.equal(again, expected)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("unet", {"encoder_depth": 3, "decoder_channels": [8, 8, 8]}),
        ("deeplabv3plus", {"encoder_output_stride": 8}),
    ],
)
def test_the_stride_follows_the_options(architecture, options):
    network = build_network(NetworkConfig(architecture, "resnet18", options), 1)
    assert likely_stride(architecture, options) == network_stride(network) == 8


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig("unnet", "resnet18"), "did you mean unet?"),
        (NetworkConfig("unet", "resnet81"), "did you mean resnet18"),
        (NetworkConfig("unet", "resnet18", {"decoder_chanels": [1]}), "decoder_chanels"),
        (NetworkConfig("unet", "resnet18", {"decoder_channels": [1]}), "combination"),
        (NetworkConfig("unet", "hrnet_w18"), "did you mean tu-hrnet_w18?"),
        (NetworkConfig("unet", "tu-resnet_that_is_not"), "tu-resnet_that_is_not"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(config, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        build_network(config, 1)


def test_building_asks_no_hub(monkeypatch):
    import socket

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"connects to {arguments}")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for encoder in ("resnet18", "tu-test_resnet", "mit_b0"):
        build_network(NetworkConfig("unet" if encoder != "mit_b0" else "segformer", encoder), 1)
