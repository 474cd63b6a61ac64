"""The network: a segmentation-models-pytorch architecture with an encoder, built by name."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import segmentation_models_pytorch as smp
from torch import nn

from segmentor.errors import ConfigError
from segmentor.nn.network_names import require_known, require_options
from segmentor.nn.same_padding import make_padding_constant


@dataclass(frozen=True)
class NetworkConfig:
    """What the network is: the architecture, the encoder, and the architecture's own options.

    `options` are keyword arguments of the SMP class, such as `decoder_channels`.
    """

    architecture: str
    encoder: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read `architecture`, `encoder` and `options`; other keys are ignored."""
        return cls(
            str(value["architecture"]), str(value["encoder"]), dict(value.get("options") or {})
        )


# Their exported graph is wrong, or fails, at any size but that of export: adaptive pooling
# (PSPNet, UPerNet, PAN), position embeddings (DPT).
FIXED_SIZE_ARCHITECTURES = ("dpt", "pan", "pspnet", "upernet")


def build_network(config: NetworkConfig, channels: int) -> nn.Module:
    """Build the network with random weights; nothing is downloaded.

    Args:
        config: What to build.
        channels: C, the number of output channels.

    Returns:
        A module float32 (N, 3, h, w) -> logits float32 (N, C, h, w), for multiples of its stride.

    Raises:
        ConfigError: no such architecture or encoder (with the nearest names), or options that
            the architecture refuses.
    """
    require_known(config.architecture, config.encoder)
    name = config.architecture.lower()
    require_options(name, config.encoder, config.options)
    try:
        with warnings.catch_warnings():
            # SMP warns that timm-* names will go; they still work, and users write them.
            warnings.simplefilter("ignore")
            network: nn.Module = smp.create_model(
                name,
                encoder_name=config.encoder,
                encoder_weights=None,
                in_channels=3,
                classes=channels,
                **config.options,
            )
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ConfigError(
            "model",
            f"{name} with {config.encoder} and {config.options or 'no options'} ({reason})",
            "a combination that segmentation-models-pytorch can build",
        ) from error
    make_padding_constant(network)
    return network


def network_stride(network: nn.Module) -> int:
    """Return the factor of which input height and width must be multiples."""
    return int(getattr(getattr(network, "encoder", None), "output_stride", 32))
