import pytest

from segmentor.errors import ConfigError
from segmentor.nn.exportability import require_exportable
from segmentor.nn.network import NetworkConfig, build_network

SHALLOW = {"encoder_depth": 3, "decoder_channels": [64, 32, 16]}


@pytest.mark.parametrize(
    ("architecture", "encoder", "options", "reason"),
    [
        ("pspnet", "tu-test_resnet", {}, "native with pspnet, which works at one size alone"),
        ("unet", "tu-dm_nfnet_f0", {}, "pads by the size of its input"),
        ("unet", "tu-tf_efficientnet_cc_b0_4e", {}, "pads by the size of its input"),
        ("unet", "tu-tf_efficientnet_lite0", SHALLOW, "pads by the size of its input"),
    ],
)
def test_what_cannot_be_exported_natively_is_refused_but_can_be_resized(
    architecture: str, encoder: str, options: dict[str, object], reason: str
) -> None:
    config = NetworkConfig(architecture, encoder, options)
    network = build_network(config, 1)
    require_exportable(network, config, "resize")
    with pytest.raises(ConfigError, match=reason):
        require_exportable(network, config, "native")


@pytest.mark.parametrize("encoder", ["tu-test_resnet", "tu-tf_efficientnet_lite0"])
def test_a_proven_network_is_not_refused(encoder: str) -> None:
    config = NetworkConfig("unet", encoder)
    require_exportable(build_network(config, 1), config, "native")
