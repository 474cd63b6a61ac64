"""The losses: one table; each takes logits and mask, and ignores pixels without ground truth.

To add a loss, write its function and enter it in `LOSSES`: configuration, checks and training read
the table. torch is imported when a loss is computed, so that names can be checked without it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from components.train.configuration.schema import unknown_key
from segmentor.errors import ConfigError
from segmentor.label_map import IGNORE_INDEX

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["binary", "multiclass"]
BOTH: tuple[Kind, ...] = ("binary", "multiclass")


@dataclass(frozen=True)
class Loss:
    """A loss, the kinds of network that it is for, and those for which it takes class weights.

    `compute` takes logits float32 (N, C, h, w), mask int64 (N, h, w) with at least one pixel of
    ground truth, and float32 (K,) class weights or None; it returns a scalar. A binary network has
    one channel (class 1 against class 0), any other one channel a class.
    """

    compute: Callable[["Tensor", "Tensor", "Tensor | None"], "Tensor"]
    kinds: tuple[Kind, ...] = BOTH
    weighted: tuple[Kind, ...] = ()


def _cross_entropy(logits: "Tensor", mask: "Tensor", weights: "Tensor | None") -> "Tensor":
    from torch.nn import functional

    return functional.cross_entropy(logits, mask, weight=weights, ignore_index=IGNORE_INDEX)


def _binary_cross_entropy(logits: "Tensor", mask: "Tensor", weights: "Tensor | None") -> "Tensor":
    """Return the mean over the pixels with ground truth (SMP divides by all pixels)."""
    from torch.nn import functional

    valid = mask != IGNORE_INDEX
    target = mask * valid  # multiplying is ten times as fast as selecting the valid pixels
    weight = valid.to(logits.dtype)
    if weights is not None:
        weight = weight * weights[target]
    total = functional.binary_cross_entropy_with_logits(
        logits[:, 0], target.to(logits.dtype), weight, reduction="sum"
    )
    return total / valid.sum()


def _jaccard(logits: "Tensor", mask: "Tensor", weights: "Tensor | None") -> "Tensor":
    """1 - IoU on probabilities, over the classes in the batch (SMP's has no ignored pixels)."""
    import torch

    is_binary = logits.shape[1] == 1
    valid = (mask != IGNORE_INDEX).unsqueeze(1)
    probability = logits.sigmoid() if is_binary else logits.softmax(1)
    if is_binary:
        truth = (mask == 1).unsqueeze(1)
    else:
        truth = torch.stack([mask == index for index in range(logits.shape[1])], 1)
    p, t = probability * valid, truth.to(logits.dtype)
    overlap = (p * t).sum((0, 2, 3))
    union = p.sum((0, 2, 3)) + t.sum((0, 2, 3)) - overlap
    present = t.sum((0, 2, 3)) > 0
    loss = (1 - overlap / union.clamp_min(1e-7)) * present
    return loss.sum() / present.sum().clamp_min(1)


def _smp(name: str, **arguments: Any) -> Callable[["Tensor", "Tensor", "Tensor | None"], "Tensor"]:
    """Return a loss of segmentation-models-pytorch by its class name."""

    def compute(logits: "Tensor", mask: "Tensor", weights: "Tensor | None") -> "Tensor":
        import segmentation_models_pytorch as smp

        is_binary = logits.shape[1] == 1
        given = dict(arguments)
        if weights is not None and not is_binary and name in ("DiceLoss", "FocalLoss"):
            given["class_weights"] = weights.tolist()
        mode = "binary" if is_binary else "multiclass"
        loss = getattr(smp.losses, name)(mode, ignore_index=IGNORE_INDEX, **given)
        target = mask.unsqueeze(1) if is_binary and name != "LovaszLoss" else mask
        result: Tensor = loss.to(logits.device)(logits, target)
        return result

    return compute


LOSSES: dict[str, Loss] = {
    "dice": Loss(_smp("DiceLoss"), weighted=("multiclass",)),
    "bce": Loss(_binary_cross_entropy, kinds=("binary",), weighted=("binary",)),
    "focal": Loss(_smp("FocalLoss"), weighted=("multiclass",)),
    "jaccard": Loss(_jaccard),
    "tversky": Loss(_smp("TverskyLoss", alpha=0.3, beta=0.7)),
    "lovasz": Loss(_smp("LovaszLoss", from_logits=True)),
    "cross_entropy": Loss(_cross_entropy, kinds=("multiclass",), weighted=("multiclass",)),
}


def kind_of(is_binary: bool) -> Kind:
    """Return the kind of a network: a binary one has a background and one class."""
    return "binary" if is_binary else "multiclass"


def losses_for(kind: Kind) -> tuple[str, ...]:
    """Return the names of the losses that a kind of network can be trained with."""
    return tuple(name for name, loss in LOSSES.items() if kind in loss.kinds)


def weighted_losses(kind: Kind) -> tuple[str, ...]:
    """Return the names of the losses that take class weights."""
    return tuple(name for name, loss in LOSSES.items() if kind in loss.weighted)


def default_terms(is_binary: bool) -> dict[str, float]:
    """Return Dice and BCE, or Dice and cross-entropy, in equal parts.

    Dice alone is 0 on a batch without foreground and does not see false positives there.
    """
    return {"dice": 1.0, "bce" if is_binary else "cross_entropy": 1.0}


def check_terms(terms: str | Mapping[str, float]) -> None:
    """Check the setting before it is known which kind of network it is for.

    Raises:
        ConfigError: an unknown loss, no loss at all, or a weight that is not positive.
    """
    if isinstance(terms, str):
        return
    if not terms:
        raise ConfigError("training.loss", "no terms", f"some of {', '.join(LOSSES)}")
    for name, weight in terms.items():
        if name not in LOSSES:
            raise unknown_key(f"training.loss.{name}", [f"training.loss.{n}" for n in LOSSES])
        if not 0 < weight < math.inf:
            raise ConfigError(f"training.loss.{name}", str(weight), "a weight above 0")


def require_losses(terms: Mapping[str, float], is_binary: bool) -> None:
    """Refuse losses of another kind of network.

    Raises:
        ConfigError: no terms, an unknown one, or one of another kind.
    """
    check_terms(terms)
    kind = kind_of(is_binary)
    for name in terms:
        if kind not in LOSSES[name].kinds:
            raise ConfigError(
                f"training.loss.{name}",
                f"no loss of a {kind} network",
                f"one of {', '.join(losses_for(kind))}",
            )


class SegmentationLoss:
    """The weighted sum of losses; ignored pixels take no part in any of them."""

    def __init__(
        self,
        terms: Mapping[str, float],
        is_binary: bool,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """Build the sum.

        Args:
            terms: Weight of each loss by name.
            is_binary: Whether the network has one channel (class 1 against class 0).
            class_weights: A weight a class, for the losses that take them.

        Raises:
            ConfigError: no terms, or one of another kind of network.
        """
        require_losses(terms, is_binary)
        self.terms = dict(terms)
        self.class_weights = None if class_weights is None else list(class_weights)

    def __call__(self, logits: "Tensor", mask: "Tensor") -> "Tensor":
        """Float32 logits (N, C, h, w) and int64 mask (N, h, w) -> the loss, a scalar."""
        if not bool((mask != IGNORE_INDEX).any()):
            return logits.sum() * 0  # nothing to learn from; a mean over no pixels would be NaN
        weights = None if self.class_weights is None else logits.new_tensor(self.class_weights)
        total = logits.new_zeros(())
        for name, factor in self.terms.items():
            total = total + factor * LOSSES[name].compute(logits, mask, weights)
        return total
