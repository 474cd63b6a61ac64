"""Counts over a loader: the data-set IoU, which does not depend on the batch size."""

import numpy as np
import torch
from torch import Tensor, distributed

from segmentor.label_map import IGNORE_INDEX, LabelMap
from segmentor.metrics import class_scores


def predict_indices(logits: Tensor) -> Tensor:
    """Logits (N, C, h, w) -> class indices int64 (N, h, w)."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).long()  # above a probability of 0.5
    return logits.argmax(1)


class Counts:
    """Loss and confusion matrix, added up batch by batch and over all processes."""

    def __init__(self, label_map: LabelMap, device: torch.device) -> None:
        self.label_map = label_map
        classes = len(label_map)
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        # (sum of loss x samples, samples)
        self.loss = torch.zeros(2, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, mask: Tensor) -> None:
        """Add a batch: logits (N, C, h, w), mask int64 (N, h, w)."""
        classes = len(self.label_map)
        pairs = mask * classes + predict_indices(logits)
        # A bin of their own for ignored pixels: to pick out the others takes ten times as long.
        pairs = torch.where(mask == IGNORE_INDEX, classes * classes, pairs)
        counts = torch.bincount(pairs.flatten(), minlength=classes * classes + 1)[:-1]
        self.confusion += counts.view(classes, classes)
        # The loss of an image without ground truth is 0, and says nothing.
        samples = int((mask != IGNORE_INDEX).flatten(1).any(1).sum())
        self.loss += torch.stack(
            [loss.detach().double() * samples, loss.new_tensor(samples).double()]
        )

    def add_state(self, confusion: Tensor, loss: Tensor) -> None:
        """Add what an epoch had counted before it was broken off."""
        self.confusion += confusion.to(self.confusion.device)
        self.loss += loss.to(self.loss.device)

    def compute(self) -> dict[str, float]:
        """Return `loss`, `iou` (of class 1 when binary, else the mean), and `iou/<class>`."""
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(self.confusion)
            distributed.all_reduce(self.loss)
        scores = class_scores(self.confusion.cpu().numpy())
        total, samples = self.loss.tolist()
        iou = float(scores.iou[1]) if self.label_map.is_binary else scores.mean_iou()
        result = {"loss": total / max(samples, 1), "iou": iou}
        for name, value in zip(self.label_map.names, scores.iou, strict=True):
            if not np.isnan(value):
                result[f"iou/{name}"] = float(value)
        return result
