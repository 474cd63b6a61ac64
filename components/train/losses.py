"""The loss: a weighted sum of segmentation-models-pytorch's losses, blind to ignored pixels.

Dice alone is 0 for a batch without any foreground in it: it does not see false positives on empty
masks. That is why the default adds BCE (binary) or cross-entropy (multiclass).
"""

from collections.abc import Mapping, Sequence

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from components.train.config import require_losses
from segmentor.label_map import IGNORE_INDEX

_WEIGHTED = {"dice": smp.losses.DiceLoss, "focal": smp.losses.FocalLoss}


def default_terms(is_binary: bool) -> dict[str, float]:
    """Dice + BCE, or Dice + cross-entropy, in equal parts."""
    return {"dice": 1.0, "bce" if is_binary else "cross_entropy": 1.0}


class SegmentationLoss(nn.Module):
    """The weighted sum over named terms; ignored pixels take no part in any of them."""

    def __init__(
        self,
        terms: Mapping[str, float],
        is_binary: bool,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """Builds the terms.

        Args:
            terms: Weight of each loss by name.
            is_binary: One channel (class 1 against class 0), or one channel a class.
            class_weights: A weight a class, for cross-entropy, BCE, Dice and focal. Of a binary
                network, BCE alone uses them.

        Raises:
            ConfigError: no terms, or one of another kind of network.
        """
        super().__init__()
        require_losses(terms, is_binary)
        self.weights = dict(terms)
        self.is_binary = is_binary
        weights = None if class_weights is None else torch.tensor(list(class_weights))
        self.register_buffer("class_weights", weights)
        self.parts = nn.ModuleDict(
            {name: _part(name, is_binary, class_weights) for name in terms if name in _PARTS}
        )

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Float32 logits (N, C, h, w) and int64 mask (N, h, w) -> the loss, a scalar."""
        if not bool((mask != IGNORE_INDEX).any()):
            return logits.sum() * 0  # nothing to learn from; a mean over no pixels would be NaN
        total = logits.new_zeros(())
        for name, weight in self.weights.items():
            total = total + weight * self._term(name, logits, mask)
        return total

    def _term(self, name: str, logits: Tensor, mask: Tensor) -> Tensor:
        if name == "cross_entropy":
            return functional.cross_entropy(
                logits, mask, weight=self.class_weights, ignore_index=IGNORE_INDEX
            )
        if name == "bce":
            return self._binary_cross_entropy(logits, mask)
        if name == "jaccard":
            return _jaccard(logits, mask, self.is_binary)
        target = mask.unsqueeze(1) if self.is_binary and name != "lovasz" else mask
        return self.parts[name](logits, target)

    def _binary_cross_entropy(self, logits: Tensor, mask: Tensor) -> Tensor:
        """The mean over the pixels that have a truth (SMP's divides by all of them)."""
        valid = mask != IGNORE_INDEX
        # Multiplied away and not picked out: that would take ten times as long.
        target = mask * valid
        weight = valid.to(logits.dtype)
        if self.class_weights is not None:
            weight = weight * self.class_weights[target]
        total = functional.binary_cross_entropy_with_logits(
            logits[:, 0], target.to(logits.dtype), weight, reduction="sum"
        )
        return total / valid.sum()


_PARTS = ("dice", "focal", "tversky", "lovasz")


def _part(name: str, is_binary: bool, class_weights: Sequence[float] | None) -> nn.Module:
    mode = "binary" if is_binary else "multiclass"
    if name == "lovasz":
        return smp.losses.LovaszLoss(mode, ignore_index=IGNORE_INDEX, from_logits=True)
    if name == "tversky":
        return smp.losses.TverskyLoss(mode, ignore_index=IGNORE_INDEX, alpha=0.3, beta=0.7)
    weights = None if is_binary or class_weights is None else list(class_weights)
    return _WEIGHTED[name](mode, ignore_index=IGNORE_INDEX, class_weights=weights)


def _jaccard(logits: Tensor, mask: Tensor, is_binary: bool) -> Tensor:
    """1 - IoU on probabilities, over the classes in the batch (SMP's knows no ignored pixels)."""
    valid = (mask != IGNORE_INDEX).unsqueeze(1)
    probability = logits.sigmoid() if is_binary else logits.softmax(1)
    classes = logits.shape[1]
    if is_binary:
        truth = (mask == 1).unsqueeze(1)
    else:
        truth = torch.stack([mask == index for index in range(classes)], 1)
    p, t = probability * valid, truth.to(logits.dtype)
    overlap = (p * t).sum((0, 2, 3))
    union = p.sum((0, 2, 3)) + t.sum((0, 2, 3)) - overlap
    present = t.sum((0, 2, 3)) > 0
    loss = (1 - overlap / union.clamp_min(1e-7)) * present
    return loss.sum() / present.sum().clamp_min(1)
