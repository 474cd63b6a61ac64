"""The comparison of two runs as text: IoU, each class, the images that changed most."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segmentor.bootstrap import FEW_GROUPS, LEVEL
from segmentor.comparison import Comparison, Difference, compare
from segmentor.plurals import counted
from segmentor.text_table import text_table

CHANGED_IMAGES = 10


def compare_runs(first: Path, second: Path) -> Iterator[str]:
    """Yield the lines of the comparison of B (`second`) with A (`first`).

    Raises:
        ContractError: a folder without an evaluation, or runs that were measured on different
            images or classes.
    """
    found = compare(first, second)
    digest = found.a.dataset_digest[:19]
    yield f"A  {found.a.run}"
    yield f"B  {found.b.run}"
    images, groups = counted(len(found.a.images), "image"), counted(found.groups, "group")
    yield f"test set  {images} in {groups}, {digest}"
    yield ""
    iou = found.iou
    yield f"IoU  A {iou.a:.4f}, B {iou.b:.4f}, B - A {iou.value:+.4f} {_range(iou)}"
    yield _verdict(iou, found.groups)
    yield ""
    rows = [(name, *_triple(it.a, it.b), _range(it)) for name, it in found.classes.items()]
    yield from text_table(("class", "IoU A", "IoU B", "B - A", f"{LEVEL:.0%} interval"), rows)
    yield ""
    yield from _image_lines(found)


def _verdict(iou: Difference, groups: int) -> str:
    if np.isnan(iou.low):
        return "One group cannot tell whether that is chance."
    verdict = (
        "B is better."
        if iou.low > 0
        else "A is better."
        if iou.high < 0
        else "No difference shown."
    )
    few = f" ({counted(groups, 'group')}: the interval is too narrow to be trusted)"
    return verdict + (few if groups < FEW_GROUPS else "")


def _image_lines(found: Comparison) -> list[str]:
    a, b = found.a, found.b
    change = b.scores - a.scores
    order = np.argsort(-np.abs(np.nan_to_num(change)), kind="stable")[:CHANGED_IMAGES]
    rows: Sequence[Sequence[Any]] = [
        (a.images[k], a.groups[k], *_triple(a.scores[k], b.scores[k])) for k in order
    ]
    return text_table(("images that changed most", "group", "IoU A", "IoU B", "B - A"), rows)


def _triple(first: float, second: float) -> tuple[str, str, str]:
    if np.isnan(first) or np.isnan(second):  # no true pixels: not measured
        return "n/a", "n/a", "n/a"
    return f"{first:.4f}", f"{second:.4f}", f"{second - first:+.4f}"


def _range(difference: Difference) -> str:
    if np.isnan(difference.low):
        return "(n/a)"
    return f"({difference.low:+.4f} .. {difference.high:+.4f})"
