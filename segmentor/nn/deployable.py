"""The deployable module: raw pixels in, probability out, with all preprocessing inside the graph.

Evaluate runs it and export writes it, so what is measured is what is served.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from segmentor.contract import InputSpec, ModelContract
from segmentor.inference import Forward


class Deployable(nn.Module):
    """uint8 RGB (N, H, W, 3) of any size -> probability float32 (N, C, h, w).

    Under the `resize` policy (h, w) is the contract's size; under `native` it is (H, W).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, contract: ModelContract) -> None:
        super().__init__()
        self.network = network
        self.spec: InputSpec = contract.input
        self.is_binary = contract.is_binary
        # (1, 3, 1, 1); 0..255 -> normalised in one multiply and one add
        mean = torch.tensor(self.spec.mean).view(1, 3, 1, 1) * 255
        std = torch.tensor(self.spec.std).view(1, 3, 1, 1) * 255
        self.register_buffer("scale", 1 / std)
        self.register_buffer("shift", -mean / std)

    def forward(self, image: Tensor) -> Tensor:
        """Compute probability float32 (N, C, h, w) from uint8 (N, H, W, 3)."""
        if self.spec.size_policy == "resize":
            pixels = resize_bilinear(image, self.spec.size)  # (N, 3, h, w), 0..255
            return self._probability(self.network(pixels * self.scale + self.shift))
        height, width = image.shape[1], image.shape[2]
        stride = self.spec.stride
        normalised = image.permute(0, 3, 1, 2).float() * self.scale + self.shift  # (N, 3, H, W)
        bottom = (height + stride - 1) // stride * stride - height
        right = (width + stride - 1) // stride * stride - width
        logits = self.network(functional.pad(normalised, (0, right, 0, bottom)))
        return self._probability(logits[:, :, :height, :width])

    def _probability(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.is_binary else softmax_of_channels(logits)


def softmax_of_channels(logits: Tensor) -> Tensor:
    """Compute `logits.softmax(1)` step by step.

    onnxruntime's own Softmax is slow over any axis but the last: 54 ms instead of 6 for 11 classes
    of 352 x 480, as much as the network; one of 19 classes at 512 x 1,024 took 0.6 s.
    """
    exponentials = (logits - logits.amax(1, keepdim=True)).exp()
    return exponentials / exponentials.sum(1, keepdim=True)


def resize_bilinear(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 (N, H, W, 3) to float32 (N, 3, h, w), 0..255; bilinear, no antialias.

    Equal to `functional.interpolate(..., align_corners=False)`, but it gathers the source rows it
    needs before it converts them: interpolate would hold the whole source as float32, 1.3 GB
    for a photograph of 12,000 x 9,000. Rows stay flat, W * 3, wherever they are multiplied: the
    runtimes take three times as long where the innermost dimension is the 3 colours.
    """
    rows, next_rows, row_weight = _taps(image.shape[1], size[0], image.device)
    columns, next_columns, column_weight = _taps(image.shape[2], size[1], image.device)
    flat = image.flatten(2)  # (N, H, W * 3)
    top = flat.index_select(1, rows).float()  # (N, h, W * 3)
    bottom = flat.index_select(1, next_rows).float()
    lines = top + (bottom - top) * row_weight.view(1, -1, 1)
    pixels = lines.reshape(image.shape[0], size[0], image.shape[2], 3)  # (N, h, W, 3)
    left = pixels.index_select(2, columns).flatten(2)  # (N, h, w * 3)
    right = pixels.index_select(2, next_columns).flatten(2)
    weight = column_weight.view(-1, 1).expand(-1, 3).reshape(-1)
    resized = left + (right - left) * weight
    return resized.reshape(image.shape[0], *size, 3).permute(0, 3, 1, 2)


def _taps(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each target pixel the indices of two source pixels, and the second one's weight.

    The centre of target pixel i lies at (i + 0.5) * source / target - 0.5 in the source, kept
    inside the image. Source: the half-pixel rule of `torch.nn.functional.interpolate`.
    """
    centres = torch.arange(target, dtype=torch.float32, device=device) + 0.5
    position = (centres * (source / target) - 0.5).clamp(min=0)
    first = position.to(torch.int64).clamp(max=source - 1)
    second = (first + 1).clamp(max=source - 1)
    return first, second, position - first.to(torch.float32)


def as_forward(module: Deployable) -> Forward:
    """Wrap the module as a `Forward` on the device its weights are on, in evaluation mode."""
    module.eval()
    device = next(module.parameters()).device

    def forward(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            # Decoded images are read-only views; torch needs writable memory.
            tensor = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(device)
            probability: NDArray[np.float32] = module(tensor).float().cpu().numpy()
        return probability

    return forward
