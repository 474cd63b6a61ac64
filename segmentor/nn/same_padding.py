"""TensorFlow's "same" padding as constants, for a network whose input is a multiple of its stride.

timm computes the padding of such a convolution from the size of its input. With free sizes torch's
exporter carries that along as symbolic arithmetic: more than five minutes for efficientnet_lite0,
where constants take half a minute. Every caller gives the network a multiple of its stride, so each
convolution gets a multiple of its own, and its padding is always the same.
"""

from timm.layers import Conv2dSame  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.nn import functional

# Of an encoder whose stages are all used; its stride is 32, or less where it is dilated.
FULL_DEPTH = 5


class ConstantSameConv2d(nn.Conv2d):
    """A convolution that pads float32 (N, C, h, w) by constants, where h and w fit its stride."""

    def __init__(self, convolution: Conv2dSame) -> None:
        # On no device: weights of its own would be drawn, and change what is drawn after them.
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            dilation=convolution.dilation,  # type: ignore[arg-type]
            groups=convolution.groups,
            device="meta",
        )
        self.weight, self.bias = convolution.weight, convolution.bias
        # As functional.pad takes them: left, right, top, bottom.
        self.sides: list[int] = []
        for kernel, stride, dilation in reversed(
            [*zip(self.kernel_size, self.stride, self.dilation, strict=True)]
        ):
            total = max((kernel - 1) * dilation + 1 - stride, 0)
            self.sides += [total // 2, total - total // 2]

    def forward(self, image: Tensor) -> Tensor:
        """Pad and convolve."""
        padded = functional.pad(image, self.sides)
        return functional.conv2d(
            padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


def make_padding_constant(network: nn.Module) -> None:
    """Replace each convolution that pads by the size of its input; weights keep their names.

    A shallower encoder stays as it is. timm runs its later blocks as well, on sizes that are no
    multiples of their strides.
    """
    if getattr(getattr(network, "encoder", None), "_depth", None) != FULL_DEPTH:
        return
    found = [(name, item) for name, item in network.named_modules() if type(item) is Conv2dSame]
    for name, convolution in found:
        network.set_submodule(name, ConstantSameConv2d(convolution))
