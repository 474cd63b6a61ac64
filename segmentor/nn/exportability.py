"""Refuse networks that cannot be exported before anybody trains them."""

from torch import nn

from segmentor.contract import SizePolicy
from segmentor.errors import ConfigError
from segmentor.nn.network import FIXED_SIZE_ARCHITECTURES, NetworkConfig

# Layers that pad by the size of their input, where same_padding.py leaves them alone: with free
# sizes the exporter takes minutes or more. By name, because timm and SMP each have their own.
SAME_PADDING = (
    "CondConv2d",
    "Conv2dSame",
    "Conv2dSameExport",
    "StdConv2dSame",
    "ScaledStdConv2dSame",
    "AvgPool2dSame",
    "MaxPool2dSame",
    "Conv2dDynamicSamePadding",
    "MaxPool2dDynamicSamePadding",
)


def require_exportable(network: nn.Module, config: NetworkConfig, size_policy: SizePolicy) -> None:
    """Refuse a network whose export under this policy is known to fail or never to end.

    Raises:
        ConfigError: the architecture works at only one size, or the encoder pads by size.
    """
    if size_policy == "resize":
        return
    where, remedy = "size policy", "take resize, or another architecture and encoder"
    if config.architecture.lower() in FIXED_SIZE_ARCHITECTURES:
        raise ConfigError(
            where, f"native with {config.architecture}, which works at one size alone", "", remedy
        )
    found = {type(module).__name__ for module in network.modules()} & set(SAME_PADDING)
    if found:
        raise ConfigError(
            where,
            f"native with {config.encoder}, which pads by the size of its input "
            f"({', '.join(sorted(found))})",
            "an encoder with fixed padding",
            remedy,
        )
